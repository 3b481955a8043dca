# Without a network, with an error that a program can handle; to itself, with success.
import http.server, threading
import requests

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
server.RequestHandlerClass.log_message = lambda *_: None
print(requests.get(f"http://127.0.0.1:{server.server_port}/", timeout=5).status_code)
for url in ("http://192.0.2.1/", "https://example.invalid/"):
    try:
        requests.get(url, timeout=2)
    except requests.ConnectionError as error:
        print(type(error).__name__)
