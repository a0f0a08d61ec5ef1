// The module answers what the engine answers on this machine, byte for byte; started by tests/integration/test_wasm.py,
// which says in the environment where the module, the cases and the engine's answers are.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

import { Instance } from './instance.js'

const read = (name) => JSON.parse(readFileSync(process.env[name], 'utf8'))
const module = new WebAssembly.Module(readFileSync(process.env.TINY_DANCER_WASM))

test('every vector has the answer of the engine, byte for byte', () => {
  const cases = read('TINY_DANCER_CASES')
  const expected = read('TINY_DANCER_ANSWERS')
  const bytes = (given) => (typeof given === 'string' ? given : readFileSync(given.file))
  const instances = new Map()
  for (const [place, { explain, encoder, steps }] of cases.entries()) {
    let instance = instances.get(encoder)
    if (instance === undefined) {
      instance = new Instance(module)
      if (encoder !== null) instance.call('encoder', readFileSync(encoder))
      instances.set(encoder, instance)
    }
    let answer = ''
    for (const [at, [operation, first, second]] of steps.entries()) {
      try {
        answer = instance.call(operation, first === null ? answer : bytes(first), bytes(second))
      } catch (error) {
        const { code, field, value, remedy } = error
        assert.notEqual(code, 'EngineStopped', `${explain}: ${error.message}`)
        assert.deepEqual({ code, field, value, remedy }, JSON.parse(expected[place][at]), explain)
        break
      }
      assert.equal(answer, expected[place][at], explain)
    }
  }
})
