// Does in Node what `crates/tiny-dancer-wasm/examples/replay.rs` does on the machine, over either engine:
//
//     node replay.mjs PACKAGES native|wasm CASES ANSWERS
//
// PACKAGES is the folder that `make node` fills. tests/integration/test_node.py compares the answers.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, backend, cases, answers] = process.argv.slice(2)
const packages = resolve(folder)

async function engine() {
  if (backend === 'native') {
    const found = readdirSync(packages).find((name) => /^tiny-dancer-(linux|darwin|win32)/.test(name))
    return createRequire(import.meta.url)(join(packages, found, 'tiny-dancer.node'))
  }
  const own = join(packages, 'tiny-dancer')
  const { engineOf } = await import(pathToFileURL(join(own, 'lib', 'wasm.js')))
  return engineOf(new WebAssembly.Module(readFileSync(join(own, 'tiny-dancer.wasm'))))
}

const { Agents, Candidates, Encoder, Router, Routes, Scorer, Tasks, Tools } = await engine()

const given = (step, before) => (step === null ? before : typeof step === 'string' ? step : readFileSync(step.file))
const bytes = (step) => (typeof step === 'string' ? undefined : step)

/** What each operation makes, of its two arguments and the encoder. */
const MAKES = {
  router: (first, second, encoder) => new Router(first, encoder, second),
  routes: (first, _, encoder) => new Routes(first, encoder),
  tools: (first, _, encoder) => new Tools(bytes(first), encoder),
  agents: (first) => new Agents(first === '' ? undefined : JSON.parse(first)),
  candidates: (first, _, encoder) => new Candidates(new Scorer(bytes(first)), encoder, false),
  tasks: (first, _, encoder) => new Tasks(first, encoder),
}

/** What each operation asks of the object made last. */
const ASKS = {
  decide: (object, first, second) => object.decide(first, second),
  route: (object, first, second) => object.route(first, second),
  addTools: (object, first) => JSON.stringify(object.add(first)),
  select: (object, first) => object.select(first),
  putAgents: (object, first) => object.put(first) ?? '',
  choose: (object, first) => object.choose(first),
  observe: (object, first, second) => object.observe(first, second),
  addCandidates: (object, first) => object.add(first) ?? '',
  rank: (object, first) => object.rank(first, undefined, true),
  classify: (object, first) => object.classify(first),
}

function said(error) {
  if (backend === 'native') return error.message
  const { code, field, value, remedy } = error
  return JSON.stringify({ code, field, value, remedy })
}

// One object an encoder: cases go on with what was made before. What calls do not change is made once.
const held = new Map()
const lasting = new Map()

function made(operation, steps, first, second, own) {
  const make = () => MAKES[operation](first, second, own.encoder)
  if (!['router', 'routes', 'tasks'].includes(operation)) return make()
  const key = JSON.stringify([own.path, operation, ...steps])
  if (!lasting.has(key)) lasting.set(key, make())
  return lasting.get(key)
}

function answered({ encoder, steps }) {
  if (!held.has(encoder)) held.set(encoder, { path: encoder, encoder: encoder === null ? undefined : new Encoder(readFileSync(encoder)) })
  const own = held.get(encoder)
  const texts = []
  for (const [operation, one, other] of steps) {
    const first = given(one, texts.at(-1) ?? '')
    const second = given(other, '')
    try {
      if (operation in MAKES) {
        own.object = made(operation, [one, other], first, second, own)
        texts.push('')
      } else {
        texts.push(ASKS[operation](own.object, first, second))
      }
    } catch (error) {
      texts.push(said(error))
      break
    }
  }
  return texts
}

writeFileSync(answers, JSON.stringify(JSON.parse(readFileSync(cases, 'utf8')).map(answered)))
