// A reward as a server, in plain Node: minus the size of the picture's PNG in kB, so plain pictures score high.
//   node examples/rewards/http/server.mjs 8080
//   tastemaker score --reward plain=http://127.0.0.1:8080/ --image cat.png --prompt "a cat"
import { createServer } from "node:http";

const server = createServer(async (request, response) => {
  const reply = (status, value) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
  try {
    let text = "";
    for await (const chunk of request.setEncoding("utf8")) text += chunk;
    const { protocol, items } = JSON.parse(text);
    if (protocol !== "tastemaker-reward/1") return reply(400, { error: `expected protocol tastemaker-reward/1, got ${protocol}` });
    // Each item is { prompt, image }; image is a PNG in base64.
    const scores = items.map(({ image }) => -Buffer.from(image, "base64").length / 1000);
    return reply(200, { scores, about: { unit: "minus kB of the PNG", typicalRange: [-500, 0], version: "1" } });
  } catch (error) {
    return reply(400, { error: String(error) });
  }
});

server.listen(Number(process.argv[2] ?? 8080), "127.0.0.1", () => process.stdout.write(`listening on http://127.0.0.1:${server.address().port}/\n`));
