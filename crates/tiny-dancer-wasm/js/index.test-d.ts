// What a strict compiler has to accept, and what it has to refuse; read by tests/integration/test_wasm.py.

import {
  AgentRouter, CandidateRouter, edge, init, Router, RouterConfig, SemanticRouter, TaskClassifier, TinyDancerError, ToolSelector,
} from './index.js'

await init()
await init(edge)
await init(fetch('tiny-dancer.wasm'))

const bytes = new Uint8Array()
const router = new Router(bytes, { encoder: bytes, models: [{ name: 'small' }] })
const model: string = router.decide([{ role: 'user', content: 'hello' }], { max_cost: 0.01 }).model
const text: string = router.decideJson('"hello"')

const config = new RouterConfig()
config.set_confidence_threshold(0.9)
const candidates = new CandidateRouter(config)
const { decisions } = candidates.route({
  queryEmbedding: new Float32Array(3),
  candidates: [{ id: 'one', embedding: new Float32Array(3), accessCount: 2, successRate: 0.5, createdAt: 0 }],
})
const light: boolean | undefined = decisions[0]?.useLightweight
candidates.add([{ id: 'two' }], new Float32Array(3))
const best = candidates.rank({ k: 1 }, new Float32Array(3)).decisions[0]?.candidate_id

new AgentRouter({ halfLife: 3600 }).put([{ name: 'a' }])
new ToolSelector().add([{ name: 'b' }])
new SemanticRouter(bytes).route('hello')
new TaskClassifier(bytes).classify('hello')

try {
  router.decide('')
} catch (error) {
  if (error instanceof TinyDancerError && error.code === 'NotInModule') console.log(error.remedy, model, text, light, best)
}

// @ts-expect-error an artifact is bytes
new Router('artifact.safetensors')
// @ts-expect-error a candidate has an id
candidates.route({ candidates: [{ text: 'x' }] })
// @ts-expect-error no such code
if (new Object() instanceof TinyDancerError && ({} as TinyDancerError).code === 'Unknown') console.log()
