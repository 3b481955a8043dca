//! Options of sockets that a job may set: those that hold no memory past the socket's own.

pub(super) const SOCKET_OPTIONS: &[u32] = &[
    libc::SO_DEBUG as u32,
    libc::SO_REUSEADDR as u32,
    libc::SO_DONTROUTE as u32,
    libc::SO_BROADCAST as u32,
    libc::SO_KEEPALIVE as u32,
    libc::SO_OOBINLINE as u32,
    libc::SO_PRIORITY as u32,
    libc::SO_LINGER as u32,
    libc::SO_REUSEPORT as u32,
    libc::SO_PASSCRED as u32,
    libc::SO_RCVLOWAT as u32,
    libc::SO_RCVTIMEO as u32,
    libc::SO_SNDTIMEO as u32,
    libc::SO_TIMESTAMP as u32,
    libc::SO_TIMESTAMPNS as u32,
    libc::SO_INCOMING_CPU as u32,
];

pub(super) const TCP_OPTIONS: &[u32] = &[
    libc::TCP_NODELAY as u32,
    libc::TCP_MAXSEG as u32,
    libc::TCP_CORK as u32,
    libc::TCP_KEEPIDLE as u32,
    libc::TCP_KEEPINTVL as u32,
    libc::TCP_KEEPCNT as u32,
    libc::TCP_SYNCNT as u32,
    libc::TCP_LINGER2 as u32,
    libc::TCP_DEFER_ACCEPT as u32,
    libc::TCP_WINDOW_CLAMP as u32,
    libc::TCP_QUICKACK as u32,
    libc::TCP_USER_TIMEOUT as u32,
    libc::TCP_FASTOPEN as u32,
    libc::TCP_NOTSENT_LOWAT as u32,
    libc::TCP_FASTOPEN_CONNECT as u32,
];

pub(super) const IP_OPTIONS: &[u32] = &[
    libc::IP_TOS as u32,
    libc::IP_TTL as u32,
    libc::IP_PKTINFO as u32,
    libc::IP_MTU_DISCOVER as u32,
    libc::IP_RECVERR as u32,
    libc::IP_RECVTTL as u32,
    libc::IP_RECVTOS as u32,
    libc::IP_FREEBIND as u32,
    libc::IP_BIND_ADDRESS_NO_PORT as u32,
    libc::IP_MULTICAST_IF as u32,
    libc::IP_MULTICAST_TTL as u32,
    libc::IP_MULTICAST_LOOP as u32,
];

pub(super) const IPV6_OPTIONS: &[u32] = &[
    libc::IPV6_UNICAST_HOPS as u32,
    libc::IPV6_MULTICAST_IF as u32,
    libc::IPV6_MULTICAST_HOPS as u32,
    libc::IPV6_MULTICAST_LOOP as u32,
    libc::IPV6_MTU_DISCOVER as u32,
    libc::IPV6_RECVERR as u32,
    libc::IPV6_V6ONLY as u32,
    libc::IPV6_RECVPKTINFO as u32,
    libc::IPV6_RECVHOPLIMIT as u32,
    libc::IPV6_RECVTCLASS as u32,
    libc::IPV6_TCLASS as u32,
];
