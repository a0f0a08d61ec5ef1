// Messages by Anthropic's SDK for Node, whole and streamed; prints what it made of each model's as JSON.
import Anthropic, { BadRequestError } from "@anthropic-ai/sdk";

const client = new Anthropic({ baseURL: process.argv[2].replace(/\/v1$/, ""), apiKey: "sk-any", maxRetries: 0 });
const tools = [{ name: "weather", input_schema: { type: "object", properties: {} } }];
const messages = [{ role: "user", content: "Hi" }];
const found = {};

for (const model of ["small", "large"]) {
  const usual = { model, max_tokens: 100, messages };
  const whole = await client.messages.create(usual);
  let deltas = "";
  const stream = client.messages.stream(usual).on("text", (text) => (deltas += text));
  const final = await stream.finalMessage();
  const behaviour = { tool: ["weather", '{"city": "Oslo"}'] };
  const asking = { ...usual, tools, behaviour: { cheap: behaviour, strong: behaviour } };
  const called = await client.messages.stream(asking).finalMessage();
  const refusal = { status: 400, error: { message: "no such thing", type: "invalid_request_error" } };
  const error = await client.messages
    .create({ ...usual, behaviour: { cheap: refusal, strong: refusal } })
    .catch((raised) => raised);
  found[model] = {
    whole: whole.content[0].text,
    deltas,
    final: final.content[0].text,
    stop: final.stop_reason,
    tokens: [final.usage.input_tokens, final.usage.output_tokens],
    call: called.content.find((block) => block.type === "tool_use").input,
    error: [error instanceof BadRequestError, error.error?.error?.message],
  };
}

console.log(JSON.stringify(found));
