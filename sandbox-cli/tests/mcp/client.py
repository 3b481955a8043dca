"""What users of the official Python SDK do with `sandbox mcp`.

client.py stdio SANDBOX...   starts the server itself
client.py http URL [TOKEN]   talks to one that runs
"""

import asyncio
import base64
import os
import sys
import time

import httpx2 as httpx
import mcp
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client


def target():
    kind, where, *rest = sys.argv[1:]
    if kind == "stdio":
        return mcp.StdioServerParameters(command=where, args=["mcp", *rest])
    headers = {"Authorization": f"Bearer {rest[0]}"} if rest else {}
    http = httpx.AsyncClient(headers=headers, timeout=60)
    return streamable_http_client(where, http_client=http)


async def run(client, code, language="python", **options):
    arguments = {"language": language, "code": code}
    return await client.call_tool("run_code", arguments, **options)


def texts(result):
    return "\n".join(block.text for block in result.content if block.type == "text")


async def main():
    changes = []

    async def hear(message):
        changes.append(type(message).__name__)

    async with Client(target(), message_handler=hear, mode=os.environ.get('MCP_MODE', 'auto')) as client:
        print("protocol", client.protocol_version)
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert sorted(tools) == ["list_files", "read_file", "run_code"], tools
        schema = tools["run_code"].input_schema
        assert schema["required"] == ["language", "code"], schema
        print("ok tools")

        result = await run(client, "print(6 * 7)")
        assert not result.is_error and "stdout:\n42" in texts(result), result
        print("ok run")

        result = await run(client, "1 / 0")
        assert result.is_error and "ZeroDivisionError" in texts(result), result
        for code, language, expected in [
            ("```python\n1\n```", "python", "fence"),
            ("1", "cobol", "one of:"),
            ("#" * (2 << 20), "python", "bytes are more"),
        ]:
            result = await run(client, code, language)
            assert result.is_error and expected in texts(result), result
        result = await client.call_tool("run_code", {"code": 1})
        assert result.is_error and "Nothing was run" in texts(result), result
        print("ok errors")

        result = await run(client, "import os\nos.mkdir('a b')\nopen('a b/ü.txt', 'w').write('hello')\n"
                           "open('raw.bin', 'wb').write(bytes(range(256)))")
        links = [block for block in result.content if block.type == "resource_link"]
        assert [link.name for link in links] == ["a b/ü.txt", "raw.bin"], result
        listed = (await client.list_resources()).resources
        assert {r.name: r.size for r in listed} == {"a b/ü.txt": 5, "raw.bin": 256}, listed
        contents = (await client.read_resource(str(links[0].uri))).contents[0]
        assert contents.text == "hello" and contents.mime_type == "text/plain", contents
        contents = (await client.read_resource(str(links[1].uri))).contents[0]
        assert base64.b64decode(contents.blob) == bytes(range(256)), contents
        for missing in ["sandbox://files/nothing", "file:///etc/passwd", "sandbox://files/../x"]:
            try:
                await client.read_resource(missing)
                raise AssertionError(missing)
            except mcp.MCPError as error:
                assert "no file" in str(error), error
        result = await client.call_tool("list_files")
        assert "a b/ü.txt" in texts(result), result
        result = await client.call_tool("read_file", {"path": "a b/ü.txt", "offset": 2})
        assert "llo" in texts(result), result
        result = await client.call_tool("read_file", {"path": "raw.bin"})
        assert result.is_error and "no text" in texts(result), result
        result = await run(client, "print(open('a b/ü.txt').read())")
        assert "hello" in texts(result), result
        print("ok files")

        png = base64.b64encode(make_png()).decode()
        result = await run(client, f"import base64\nopen('p.png','wb').write(base64.b64decode('{png}'))")
        images = [block for block in result.content if block.type == "image"]
        assert [image.mime_type for image in images] == ["image/png"], result
        result = await client.call_tool("read_file", {"path": "p.png"})
        assert result.content[0].type == "image", result
        print("ok images")

        # The program says when it wrote; both clocks are this machine's.
        seen = []

        async def progress(step, total, message):
            seen.append((time.time(), step, message))

        code = "import time\nfor n in range(5):\n    print(time.time(), flush=True)\n    time.sleep(.2)"
        started = time.time()
        result = await run(client, code, progress_callback=progress)
        assert [step for _, step, _ in seen] == sorted({step for _, step, _ in seen}), seen
        written = [float(line) for line in texts(result).split("stdout:\n")[1].split()]
        arrived = [when for when, _, message in seen for line in message.split() if line]
        assert len(arrived) == 5 and arrived[0] < started + 0.9, seen
        delays = [round((a - w) * 1000, 1) for a, w in zip(arrived, written)]
        print("ok progress; live after", delays, "ms")

        # Cancelled: the program is dead, and the session lives.
        code = ("import os, time\nprint('up', flush=True)\n"
                "while True:\n    time.sleep(.05)\n")
        up = asyncio.Event()

        async def wait_for_it(step, total, message):
            up.set()

        task = asyncio.create_task(run(client, code, progress_callback=wait_for_it))
        await asyncio.wait_for(up.wait(), 10)
        task.cancel()
        try:
            await task
            raise AssertionError("not cancelled")
        except asyncio.CancelledError:
            pass
        result = await run(client, "print('still there')")
        assert "still there" in texts(result), result
        print("ok cancel")

        results = await asyncio.gather(*(run(client, f"print({n} * 2)") for n in range(20)))
        assert all(f"stdout:\n{n * 2}\n" in texts(result) for n, result in enumerate(results))
        print("ok concurrent")
        if client.protocol_version < "2026-07-28":
            assert "ResourceListChangedNotification" in " ".join(changes), changes
            print("ok list changed")
    print("done")


def make_png():
    import struct, zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)
    rows = (b"\0" + bytes(12)) * 4
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


asyncio.run(main())
