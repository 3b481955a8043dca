"""Compares the signature of each request with the one that botocore makes of it: SIGNED.py PORT."""
import http.server, sys

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


class Check(http.server.BaseHTTPRequestHandler):
    def check(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        authorization = self.headers["authorization"]
        part = lambda name: authorization.partition(name + "=")[2].partition(",")[0]
        _, _, region, service, _ = part("Credential").split("/")
        signed = part("SignedHeaders").split(";")
        headers = {name: value for name, value in self.headers.items() if name.lower() in signed}
        url = f"http://{self.headers['host']}{self.path}"
        request = AWSRequest(method=self.command, url=url, data=body, headers=headers)
        request.context["timestamp"] = self.headers["x-amz-date"]
        auth = (S3SigV4Auth if service == "s3" else SigV4Auth)(Credentials("key", "secret"), service, region)
        text = auth.string_to_sign(request, auth.canonical_request(request))
        same = auth.signature(text, request) == part("Signature")
        print(service, region, "same" if same else "DIFFERENT", flush=True)
        self.send_response(200)
        self.end_headers()
        # Enough of a function that the rest is asked for.
        self.wfile.write(b'{"Role": "arn:aws:iam::1:role/r", "VpcConfig": {"VpcId": "vpc-1"}}')

    do_GET = do_POST = check

    def log_message(self, *_):
        pass


http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Check).serve_forever()
