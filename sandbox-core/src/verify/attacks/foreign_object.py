# As a stranger's program would: the address in the URL, and the same request sent to a host that is
# let through. Whether certificates fit does not matter to it.
import http.client, ssl, threading, urllib.parse
tried("to read a stranger's object")
context = ssl._create_unverified_context()
answers = {}

def get(url, through):
    host, _, port = (through or url.netloc).partition(":")
    plain = url.scheme != "https"
    port = int(port) if port else (80 if plain else 443)
    client = http.client.HTTPConnection(host, port, timeout=4) if plain else http.client.HTTPSConnection(host, port, timeout=4, context=context)
    try:
        client.request("GET", url.path + ("?" + url.query if url.query else ""), headers={"Host": url.netloc})
        response = client.getresponse()
        body = response.read(2000).decode("utf-8", "replace")
        return response.status, body.partition("<Code>")[2].partition("</Code>")[0], "expired" in body
    finally:
        client.close()

def attempt(url, through):
    way = f"by way of {through}" if through else "directly"
    try:
        answers[url, way] = get(url, through)
    except OSError as error:
        answers[url, way] = error.strerror or str(error) or type(error).__name__
    except http.client.HTTPException as error:
        answers[url, way] = type(error).__name__

ways = [(urllib.parse.urlsplit(url), way) for url in facts["around"]["urls"] for way in (None, *facts["around"]["hosts"])]
threads = [threading.Thread(target=attempt, args=way, daemon=True) for way in ways]
for thread in threads:
    thread.start()
until = time.monotonic() + 10
for thread in threads:
    thread.join(max(until - time.monotonic(), 0))
said = set() if len(answers) == len(ways) else {"no answer within 10 s"}
for (url, way), answer in sorted(answers.items()):
    if isinstance(answer, str):
        said.add(f"{way}: {answer}")
        continue
    status, code, expired = answer
    name = f"{url.netloc}{url.path}"
    if status < 300:
        broke(f"it has read {name} {way}")
    if status < 400 or status == 404:
        broke(f"{name} is reached {way}, and answers {status} {code}".strip())
    if status >= 500 or expired:
        sys.exit(f"{name} {way}: {status} {code}, which shows nothing; is the URL still good?")
    said.add(f"{way}: {status} {code}".strip())
held("; ".join(sorted(said)))
