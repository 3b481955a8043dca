# Where Lambda's runtimes ask for their next event, and leave their answers.
import http.client
tried("to answer in the runner's place")
said = set()
for address in facts["around"]["runtime_apis"]:
    base = "/2018-06-01/runtime/invocation/"
    try:
        client = http.client.HTTPConnection(address, timeout=2)
        client.request("GET", base + "next")
        response = client.getresponse()
        response.read()
        request = response.getheader("lambda-runtime-aws-request-id")
        if request is None:
            said.add(f"{address} gives no event: {response.status}")
            continue
        client = http.client.HTTPConnection(address, timeout=2)
        client.request("POST", f"{base}{request}/response", b'{"forged": true}')
        status = client.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        said.add(f"{address}: {getattr(error, 'strerror', None) or error or type(error).__name__}")
        continue
    if status == 202:
        broke(f"{address} took its answer")
    said.add(f"{address} shows the job its own event, and refuses another answer: {status}")
held("; ".join(sorted(said)))
