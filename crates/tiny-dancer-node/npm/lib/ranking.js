// What is asked of rankings, and when a breaker opens.

import { kindOf } from './given.js'
import { TinyDancerError } from './instance.js'
import { shareOf, truthOf } from './options.js'

export const RANKING = ['confidenceThreshold', 'maxUncertainty', 'enableQuantization', 'enableCircuitBreaker', 'circuitBreakerThreshold']

/** Failures that open a breaker; undefined for none. */
export function breakerOf(config) {
  const { circuitBreakerThreshold: given } = config
  if (given !== undefined && given !== null && !(Number.isInteger(given) && given >= 1 && given < 2 ** 31)) {
    throw new TinyDancerError('OptionInvalid', 'circuitBreakerThreshold', typeof given === 'number' ? String(given) : kindOf(given), 'give a whole number from 1 on')
  }
  return truthOf(config.enableCircuitBreaker, 'enableCircuitBreaker', true) ? (given ?? 5) : undefined
}

export function thresholdsOf(config) {
  return {
    confidence_threshold: shareOf(config.confidenceThreshold, 'confidenceThreshold', 0.85),
    max_uncertainty: shareOf(config.maxUncertainty, 'maxUncertainty', 0.15),
  }
}
