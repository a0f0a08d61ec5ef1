// Options, checked; and moments, of which the engine has no clock to know the present one.

import { checkedJson, isObject, kindOf, knownOnly, objectOf } from './given.js'
import { TinyDancerError } from './instance.js'

/** Refuses an option that nobody reads. */
export function known(given, names, field) {
  if (isObject(given) && given.databasePath !== undefined) {
    throw new TinyDancerError('OptionInvalid', 'databasePath', String(given.databasePath), 'leave it out: this package keeps no database')
  }
  knownOnly(given, names, field)
}

export const optionsOf = (given) =>
  given === undefined || given === null ? '' : checkedJson(objectOf(given, 'options', 'OptionInvalid', 'give an object of options by their names'), '', 'OptionInvalid')

export function listOf(given, field, code) {
  if (!Array.isArray(given)) throw new TinyDancerError(code, field, kindOf(given), 'give a list')
  return given
}

/** A Date as seconds: its milliseconds would be taken for seconds in the first years after 1970. */
export const momentOf = (given) => (given instanceof Date ? given.getTime() / 1000 : given)

export const present = () => Date.now() / 1000

/** What is asked, at the time it names, or now. */
export function atPresent(given, field) {
  const asked = objectOf(given ?? {}, field, 'OptionInvalid', 'give an object of options by their names')
  return { ...asked, now: asked.now === undefined || asked.now === null ? present() : momentOf(asked.now) }
}

export function shareOf(given, field, usual) {
  if (given === undefined || given === null) return usual
  if (typeof given !== 'number' || !(given >= 0 && given <= 1)) {
    throw new TinyDancerError('OptionInvalid', field, typeof given === 'number' ? String(given) : kindOf(given), 'give a number from 0 to 1')
  }
  return given
}

export function truthOf(given, field, usual) {
  if (given === undefined || given === null) return usual
  if (typeof given !== 'boolean') throw new TinyDancerError('OptionInvalid', field, kindOf(given), 'give true or false')
  return given
}
