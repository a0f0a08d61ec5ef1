// A Worker that routes, in workerd: started by tests/integration/test_wasm.py.

import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'

import { Miniflare } from 'miniflare'

const { TINY_DANCER_GLUE: glue, TINY_DANCER_DATA: data } = process.env
const read = (name) => readFileSync(`${glue}/${name}`)

const script = `
import module from './tiny-dancer-edge.wasm'
import artifact from './edge.safetensors'
import { init, Router } from './index.js'

await init(module)
const router = new Router(artifact)

export default {
  async fetch(request) {
    const asked = await request.json()
    try {
      return new Response(router.decideJson(JSON.stringify(asked.request)))
    } catch ({ code, field, value, remedy }) {
      return Response.json({ code, field, value, remedy }, { status: 400 })
    }
  },
}
`
const modules = [
  { type: 'ESModule', path: 'worker.js', contents: script },
  { type: 'ESModule', path: 'index.js', contents: read('index.js').toString() },
  { type: 'ESModule', path: 'given.js', contents: read('given.js').toString() },
  { type: 'ESModule', path: 'instance.js', contents: read('instance.js').toString() },
  { type: 'CompiledWasm', path: 'tiny-dancer-edge.wasm', contents: read('tiny-dancer-edge.wasm') },
  { type: 'Data', path: 'edge.safetensors', contents: readFileSync(`${data}/edge.safetensors`) },
]
const upload = modules.reduce((sum, { contents }) => sum + gzipSync(contents).length, 0)
const miniflare = new Miniflare({ modules, modulesRoot: '/', compatibilityDate: '2026-01-01' })
const ask = async (body) => (await miniflare.dispatchFetch('http://localhost/', { method: 'POST', body: JSON.stringify(body) })).json()
try {
  const decided = await ask({ request: [{ role: 'user', content: 'Prove that there are infinitely many primes.' }] })
  const refused = await ask({ request: '' })
  console.log(JSON.stringify({ decided, refused, upload }))
} finally {
  await miniflare.dispose()
}
