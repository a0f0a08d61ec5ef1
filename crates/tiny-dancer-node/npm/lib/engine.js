// The engine that the classes are made over, and how it is asked.

import { TinyDancerError } from './instance.js'

/** @type {any} */
let engine
/** @type {any} */
let platform

/**
 * Says over what the classes are made; an entry of the package calls it once.
 * @internal
 * @param {any} givenEngine
 * @param {any} givenPlatform
 */
export function use(givenEngine, givenPlatform) {
  engine = givenEngine
  platform = givenPlatform
}

export function made() {
  if (engine === undefined) {
    throw new TinyDancerError('NotInitialised', 'init', 'not awaited', 'await init() before anything is made')
  }
  return engine
}

/** Runs a call of the engine; what the native module throws is the text of an error. */
export function call(work) {
  try {
    return work()
  } catch (error) {
    throw named(error)
  }
}

function named(error) {
  if (error instanceof TinyDancerError) return error
  let said
  try {
    said = JSON.parse(error.message)
  } catch {
    said = { code: 'EngineStopped', field: 'engine', value: String(error?.message ?? error), remedy: 'report what it was given' }
  }
  return new TinyDancerError(said.code, said.field, said.value, said.remedy)
}

/** Requests answered on other threads, and how many of them at a time: what comes back is read on this one. */
const AT_A_TIME = 1024

export async function inBatches(requests, answer) {
  const answers = []
  for (let start = 0; start < requests.length; start += AT_A_TIME) {
    try {
      for (const each of JSON.parse(await answer(requests.slice(start, start + AT_A_TIME)))) answers.push(each)
    } catch (cause) {
      const { code, field, value, remedy } = named(cause)
      const placed = field.replace(/^requests\[(\d+)\]/, (_, row) => `requests[${start + Number(row)}]`)
      throw new TinyDancerError(code, placed, value, remedy)
    }
  }
  return answers
}

/** Where files and what is shipped are found. */
export const host = () => platform
