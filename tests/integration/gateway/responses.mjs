// Responses by the openai SDK for Node, streamed; prints what its accumulator made of each model's as JSON.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "sk-any", maxRetries: 0 });
const tools = [{ type: "function", name: "weather", strict: false, parameters: { type: "object", properties: {} } }];
const found = {};

for (const model of ["small", "large"]) {
  const whole = await client.responses.create({ model, input: "Hi" });
  const stream = client.responses.stream({ model, input: "Hi" });
  let deltas = "";
  stream.on("response.output_text.delta", (event) => (deltas += event.delta));
  const final = await stream.finalResponse();
  const behaviour = { tool: ["weather", '{"city": "Oslo"}'] };
  const asking = { model, input: "Hi", tools, behaviour: { cheap: behaviour, strong: behaviour } };
  const called = await client.responses.stream(asking).finalResponse();
  found[model] = {
    whole: whole.output_text,
    deltas,
    final: final.output_text,
    tokens: final.usage.total_tokens,
    call: JSON.parse(called.output[0].arguments),
  };
}

console.log(JSON.stringify(found));
