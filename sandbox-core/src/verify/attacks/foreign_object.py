# As a stranger's program would: the address in the URL, and the same request sent to a host that is
# let through. Whether certificates fit does not matter to it.
import http.client, ssl, urllib.parse
tried("to read a stranger's object")
context = ssl._create_unverified_context()

def get(url, through):
    host, port = through or (url.hostname, url.port)
    if url.scheme == "https":
        client = http.client.HTTPSConnection(host, port or 443, timeout=4, context=context)
    else:
        client = http.client.HTTPConnection(host, port or 80, timeout=4)
    try:
        path = url.path + ("?" + url.query if url.query else "")
        client.request("GET", path, headers={"Host": url.netloc})
        response = client.getresponse()
        return response.status, response.read(600).decode("utf-8", "replace")
    finally:
        client.close()

said = set()
for text in facts["around"]["urls"]:
    url = urllib.parse.urlsplit(text)
    for text in [None, *facts["around"]["hosts"]]:
        way = f"by way of {text}" if text else "directly"
        host, _, port = (text or "").partition(":")
        through = (host, int(port) if port else None) if text else None
        try:
            status, body = get(url, through)
        except OSError as error:
            said.add(f"{way}: {error.strerror or error or type(error).__name__}")
            continue
        except http.client.HTTPException as error:
            said.add(f"{way}: {type(error).__name__}")
            continue
        if 200 <= status < 300:
            broke(f"it has read {url.netloc}{url.path} {way}")
        code = body.partition("<Code>")[2].partition("</Code>")[0]
        said.add(f"{way}: {status} {code}".strip())
held("; ".join(sorted(said)))
