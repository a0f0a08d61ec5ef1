// node replay.js MODULE CASES ANSWERS: has the module answer the cases of tests/integration/doors.py, which says what they
// are and holds the answers against the engine's.

import { readFileSync, writeFileSync } from 'node:fs'

import { Instance } from './instance.js'

const [path, cases, answers] = process.argv.slice(2)
const module = new WebAssembly.Module(readFileSync(path))
const bytes = (given) => (typeof given === 'string' ? given : readFileSync(given.file))
const instances = new Map()

function replay({ explain, encoder, steps }) {
  let instance = instances.get(encoder)
  if (instance === undefined) {
    instance = new Instance(module)
    if (encoder !== null) instance.call('encoder', readFileSync(encoder))
    instances.set(encoder, instance)
  }
  const answered = []
  for (const [operation, first, second] of steps) {
    try {
      answered.push(instance.call(operation, first === null ? (answered.at(-1) ?? '') : bytes(first), bytes(second)))
    } catch (error) {
      const { code, field, value, remedy } = error
      if (code === undefined || code === 'EngineStopped') throw new Error(explain, { cause: error })
      answered.push(JSON.stringify({ code, field, value, remedy }))
      break
    }
  }
  return answered
}

writeFileSync(answers, JSON.stringify(JSON.parse(readFileSync(cases, 'utf8')).map(replay)))
