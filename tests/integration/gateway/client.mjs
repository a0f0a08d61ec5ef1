// The openai SDK for Node, as its users write it; prints what it got as JSON.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "sk-any", maxRetries: 0 });
const messages = [{ role: "user", content: "Hi there, how are you?" }];
const found = {};

const { data, response } = await client.chat.completions.create({ model: "auto", messages }).withResponse();
found.chat = data.choices[0].message.content;
found.model = response.headers.get("x-td-model");

found.pieces = [];
const stream = await client.chat.completions.create({ model: "small", messages, stream: true });
for await (const chunk of stream) found.pieces.push(chunk.choices[0]?.delta?.content ?? "");

const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: {} } } }];
const behaviour = { cheap: { tool: ["weather", '{"city": "Oslo"}'] } };
const asked = await client.chat.completions.create({ model: "small", messages, tools, behaviour });
found.call = asked.choices[0].message.tool_calls[0].function;

const responded = await client.responses.create({ model: "small", input: "Hi" });
found.response = responded.output_text;

found.models = [];
for await (const model of client.models.list()) found.models.push(model.id);

found.embedding = (await client.embeddings.create({ model: "small", input: "Hi" })).data[0].embedding;

try {
  await client.chat.completions.create({ model: "none-such", messages });
} catch (error) {
  found.error = { name: error.constructor.name, status: error.status, code: error.code };
}

const held = { cheap: { fault: "hang", at: "middle" } };
const left = await client.chat.completions.create({ model: "small", messages, stream: true, behaviour: held });
for await (const chunk of left) break;

console.log(JSON.stringify(found));
