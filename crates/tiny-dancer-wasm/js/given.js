// What is given, as JSON or as bytes. What JSON would leave out, make null or make empty without a word is refused by name: an
// option or a filter that is silently not there asks for something else than was asked.

import { tagOf, TinyDancerError } from './instance.js'

export const kindOf = (given) =>
  given === null ? 'null' : Array.isArray(given) ? 'a list' : typeof given === 'object' ? given.constructor?.name ?? 'object' : typeof given

export const isObject = (given) => typeof given === 'object' && given !== null && !Array.isArray(given) && !ArrayBuffer.isView(given)

/** Whether what an object holds is no property of its own, as in a Map, or where options are inherited: copies and JSON lose it. */
function isHidden(given) {
  const from = Object.getPrototypeOf(given)
  return Object.keys(given).length === 0 && from !== null && Object.getPrototypeOf(from) !== null
}

const hidden = (given) => `${kindOf(given)} without properties of its own`

export function objectOf(given, field, code, remedy) {
  if (!isObject(given)) throw new TinyDancerError(code, field, kindOf(given), remedy)
  if (isHidden(given)) throw new TinyDancerError(code, field, hidden(given), remedy)
  return given
}

/** How many characters have to be changed, put in or left out to make one name of the other, of its first 64. */
function edits(name, known) {
  const row = Array.from({ length: known.length + 1 }, (_, place) => place)
  for (const [at, letter] of [...name.slice(0, 64)].entries()) {
    let diagonal = row[0]
    row[0] = at + 1
    for (let place = 0; place < known.length; place++) {
      const replaced = diagonal + (letter === known[place] ? 0 : 1)
      diagonal = row[place + 1]
      row[place + 1] = Math.min(replaced, diagonal + 1, row[place] + 1)
    }
  }
  return row[known.length]
}

/** What to do instead of giving a name that is unknown: the one that was meant, where one is like it, and all there are. */
export function namesOf(what, name, names) {
  const [nearest] = [...names].sort((one, other) => edits(name, one) - edits(name, other))
  const hint = nearest !== undefined && edits(name, nearest) * 2 <= nearest.length ? `did you mean ${nearest}? ` : ''
  return `${hint}${what} ${names.join(', ') || 'none'}`
}

/** An object of options of which each is known: one that nobody reads asks for something else than was meant. */
export function knownOnly(given, names, field) {
  objectOf(given, field, 'OptionInvalid', 'give an object of options by their names')
  for (const name of Object.keys(given)) {
    if (names.includes(name) || given[name] === undefined) continue
    throw new TinyDancerError('OptionInvalid', name, 'unknown', namesOf('options are', name, names))
  }
  return given
}

export const isBytes = (given) => ['Uint8Array', 'ArrayBuffer'].includes(tagOf(given))

/** Bytes, of which there have to be some: a buffer that was transferred away has none left. */
export function bytesOf(given, field, code) {
  const remedy = 'give its bytes as a Uint8Array or ArrayBuffer'
  if (!isBytes(given)) throw new TinyDancerError(code, field, kindOf(given), remedy)
  if (given.byteLength === 0) throw new TinyDancerError(code, field, '0 bytes', remedy)
  return ArrayBuffer.isView(given) ? given : new Uint8Array(given)
}

/** `filter`: whether undefined, which elsewhere is nothing asked, would lift a condition. */
function words(given, field, code, filter) {
  const refuse = (value, remedy) => {
    throw new TinyDancerError(code, field || 'options', value, remedy)
  }
  if (typeof given === 'string' || typeof given === 'boolean' || given === null) return
  if (typeof given === 'number') {
    if (!Number.isFinite(given)) refuse(String(given), 'give a finite number, or leave it out')
  } else if (typeof given === 'bigint') {
    refuse(`${given}n`, 'give a number or a text, or leave it out')
  } else if (typeof given !== 'object') {
    refuse(kindOf(given), 'give what JSON can say, or leave it out')
  } else if (Array.isArray(given)) {
    for (let place = 0; place < given.length; place++) words(given[place], `${field}[${place}]`, code, filter)
  } else if (typeof given.toJSON === 'function') {
    const said = given.toJSON()
    if (said === null) refuse(String(given), 'give what JSON can say, or leave it out')
    words(said, field, code, filter)
  } else {
    if (isHidden(given)) refuse(hidden(given), 'give what JSON can say, or leave it out')
    for (const name of Object.keys(given)) {
      if (given[name] === undefined && !filter) continue
      words(given[name], field === '' ? name : `${field}.${name}`, code, filter || name === 'where')
    }
  }
}

/** Refuses what JSON would not say as it was meant; `field` is empty for options, whose names say enough. */
export function check(given, field, code) {
  try {
    words(given, field, code, false)
  } catch (cause) {
    if (cause instanceof TinyDancerError) throw cause
    // JSON itself says better what circle exhausted the stack; else a getter of the caller's threw.
    asJson(given, field, code)
    throw new TinyDancerError(code, field || 'options', cause?.message ?? String(cause), 'give what JSON can say', { cause })
  }
}

export function asJson(given, field, code = 'RequestInvalid') {
  let text
  try {
    text = JSON.stringify(given)
  } catch (cause) {
    throw new TinyDancerError(code, field || 'options', cause?.message ?? String(cause), 'give what JSON can say', { cause })
  }
  if (text === undefined) throw new TinyDancerError(code, field || 'options', kindOf(given), 'give what JSON can say')
  return text
}

export function checkedJson(given, field, code) {
  check(given, field, code)
  return asJson(given, field, code)
}
