// Texts to routes.

import { ARTIFACT, artifactOf, encoderFor, headerOf } from './artifacts.js'
import { call, inBatches, made } from './engine.js'
import { asJson, checkedJson, objectOf } from './given.js'
import { TinyDancerError } from './instance.js'
import { embeddingOf } from './numbers.js'
import { atPresent, known, listOf, optionsOf } from './options.js'

/** @import { ArtifactConfig, RouteRequest } from './shapes.js' */

/** Requests to routes, by an artifact. */
export class SemanticRouter {
  #routes
  #zones

  /** @param {ArtifactConfig} config */
  constructor(config) {
    known(config, ARTIFACT, 'config')
    made()
    const artifact = artifactOf(config, 'routes of `tiny-dancer routes fit`')
    const encoder = encoderFor(config, artifact)
    this.#routes = call(() => new (made().Routes)(artifact, encoder))
    this.#zones = zonesOf(headerOf(artifact).routes, new Set())
  }

  /** Options whose context has the time, and what the clocks of the zones that conditions name show then. */
  #options(given) {
    const asked = objectOf(given ?? {}, 'options', 'OptionInvalid', 'give an object of options by their names')
    const context = atPresent(asked.context, 'context')
    const offsets = {}
    for (const zone of this.#zones) offsets[zone] = secondsEast(zone, context.now)
    return optionsOf({ ...asked, context: { ...context, offsets: { ...offsets, ...context.offsets } } })
  }

  /**
   * @param {RouteRequest} request
   * @param {object | null} [options]
   * @returns {Record<string, any>}
   */
  route(request, options) {
    const said = routeRequest(request, 'request')
    const asked = this.#options(options)
    return JSON.parse(call(() => this.#routes.route(said, asked)))
  }

  /**
   * Routes many requests with the same options on other threads, in order.
   * @param {readonly RouteRequest[]} requests
   * @param {object | null} [options]
   * @returns {Promise<Record<string, any>[]>}
   */
  async routeBatch(requests, options) {
    const said = Array.from(listOf(requests, 'requests', 'RequestInvalid'), (request, row) => routeRequest(request, `requests[${row}]`))
    const asked = this.#options(options)
    return inBatches(said, (some) => this.#routes.routeBatch(some, asked))
  }
}

/** Time zones that conditions of routes name. */
function zonesOf(given, found) {
  if (typeof given === 'object' && given !== null) {
    if (typeof given.time?.zone === 'string') found.add(given.time.zone)
    for (const each of Object.values(given)) zonesOf(each, found)
  }
  return found
}

function secondsEast(zone, now) {
  try {
    const format = new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset' })
    const written = format.formatToParts(now * 1000).find(({ type }) => type === 'timeZoneName').value
    const [, sign, hours, minutes, seconds = 0] = /GMT([+-])(\d+):(\d+)(?::(\d+))?/.exec(written) ?? [0, '+', 0, 0, 0]
    return Number(`${sign}1`) * (hours * 3600 + minutes * 60 + Number(seconds))
  } catch (cause) {
    throw new TinyDancerError('OptionInvalid', 'context', `${zone} at ${now}: ${cause.message}`, 'give now as seconds, and offsets of zones', { cause })
  }
}

function routeRequest(given, field) {
  if (typeof given === 'string') return asJson({ text: given }, field)
  objectOf(given, field, 'RequestInvalid', 'give a text, or an object of text or vector and encoder')
  const { vector } = given
  if (vector === undefined || vector === null) return checkedJson(given, field, 'RequestInvalid')
  return checkedJson({ ...given, vector: Array.from(embeddingOf(vector, `${field}.vector`)) }, field, 'RequestInvalid')
}
