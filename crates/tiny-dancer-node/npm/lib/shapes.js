// What is given and what is answered, for the compiler of TypeScript and for readers: nothing of it runs.

/**
 * Anything JSON can say.
 * @typedef {null | boolean | number | string | readonly unknown[] | { readonly [name: string]: unknown }} Json
 */

/**
 * Bytes of a file. They are read where they lie; leave them as they are while what was made of them serves: the
 * WebAssembly module may have to read them again.
 * @typedef {Uint8Array | ArrayBuffer} Bytes
 */

/**
 * An embedding. A Float32Array is read where it lies, whatever its offset. A Buffer is the bytes of little-endian
 * float32, as databases give them; any other typed array and any list is its numbers.
 * @typedef {Float32Array | Float64Array | Int8Array | Int16Array | Int32Array | Uint8Array | readonly number[]} Embedding
 */

/**
 * An artifact and the encoder it names: each from a file, or as bytes. An encoder that is not given is looked for in the
 * package `tiny-dancer-encoder`.
 * @typedef {object} ArtifactConfig
 * @property {string | URL} [modelPath] file of the artifact; a file that is missing is an error
 * @property {Bytes} [artifact] its bytes, in place of `modelPath`
 * @property {string | URL} [encoderPath] file of the encoder
 * @property {Bytes} [encoder] its bytes, in place of `encoderPath`
 */

/**
 * @typedef {object} RankingConfig
 * @property {number} [confidenceThreshold] least calibrated confidence at which `useLightweight` is true; 0.85
 * @property {number} [maxUncertainty] largest uncertainty at which `useLightweight` is true; 0.15
 * @property {boolean} [enableQuantization] keep embeddings as int8: a quarter of the memory, cosines within about .01;
 *   false
 * @property {boolean} [enableCircuitBreaker] stop asking an artifact that keeps failing, for a while; true
 * @property {number} [circuitBreakerThreshold] failures within 60 seconds that open the breaker; 5
 */

/**
 * `artifact` or `modelPath` may be an artifact of models (for `decide`) or of candidates (for `route`). Without one,
 * `decide` uses the artifact that ships and `route` the combination without training. `models`: an object a model, in the
 * artifact's order, whose fields (`name`, prices, …) replace the model's.
 * @typedef {ArtifactConfig & RankingConfig & { models?: readonly object[] }} RouterConfig
 */

/**
 * What is asked beyond the request, by the names every language has.
 * @typedef {object} DecideOptions
 * @property {number | null} [max_cost] most USD the answer may cost
 * @property {number | null} [min_quality] least quality to expect, in [0, 1]
 * @property {number | null} [max_latency] most seconds the answer may take
 * @property {readonly string[] | null} [allowed] only these models
 * @property {readonly string[] | null} [exclude] not these
 * @property {string | null} [pin] this one, whatever the policy says
 * @property {number | null} [threshold] another threshold on the gain than the artifact's
 * @property {number | null} [cost_weight] another quality per unit of cost than the artifact's
 * @property {'quality' | 'balanced' | 'cheapest' | null} [policy] one of the artifact's policies
 * @property {number | null} [expected_output_tokens] of any model, where the caller knows
 * @property {string | null} [current] the model the conversation is with
 * @property {Readonly<Record<string, number>> | null} [cached_tokens] tokens in the models' prompt caches
 */

/**
 * The model to call, and everything there is to say about the choice. Null is unknown.
 * @typedef {object} Decision
 * @property {string} model
 * @property {Record<string, number>} scores expected quality of each model
 * @property {Record<string, number | null>} costs expected USD
 * @property {Record<string, number | null>} latencies expected seconds
 * @property {number} tokens of the prompt
 * @property {Record<string, number | null>} output_tokens expected
 * @property {Record<string, string>} removed what removed which model
 * @property {number | null} quality expected of the model chosen
 * @property {number | null} cost
 * @property {number | null} confidence calibrated probability that no other model would have been better
 * @property {number | null} likeness p-value of "the request is like those the artifact was calibrated on"
 * @property {string[]} prediction_set models that may be the best one
 * @property {string} reason
 * @property {string} routed_by
 * @property {Record<string, Json> | null} guarantee the certificate the decision stands under
 * @property {string} guarantee_note why there is none
 * @property {string} artifact_version
 * @property {2 | 3} [level] only where the artifact could not be asked: 2 rules, 3 the model that is best for all requests;
 *   what only the artifact knows is then null
 * @property {string} [level_reason] why
 */

/**
 * A memory, a tool, a document, a model. Everything but the id may be absent. Names with an underscore
 * (`created_at`) are taken as well.
 * @typedef {object} Candidate
 * @property {string} id unique among the candidates
 * @property {Embedding | null} [embedding] as wide as the others'
 * @property {string | null} [text] what it says
 * @property {Json} [metadata] an object of properties, or its JSON as text
 * @property {number | string | Date | null} [createdAt] seconds, milliseconds, microseconds or nanoseconds since 1970, told
 *   apart by size; or ISO 8601
 * @property {number | null} [accessCount] how often it was used
 * @property {number | null} [successRate] share of its uses that helped, in [0, 1]
 * @property {number | null} [trials] uses the rate was counted over; `accessCount` where absent
 * @property {number | null} [confidence] how sure its maker is of it, in [0, 1]
 * @property {string | null} [group] the conversation or document it is part of
 * @property {number | null} [position] place within the group
 * @property {number | string | Date | null} [expiresAt] from when on it takes no part
 * @property {readonly string[] | null} [namespace] where it belongs, from the widest part to the narrowest
 */

/**
 * @typedef {object} RoutingRequest
 * @property {Embedding | null} [queryEmbedding] as wide as the candidates'
 * @property {string | null} [text] the request's words, beside its embedding or in its place
 * @property {readonly Candidate[]} candidates
 * @property {Float32Array | null} [embeddings] of all candidates, row after row, in place of `embedding` of each
 * @property {Json} [metadata] properties of the request, compared with the candidates' own: an object, or its JSON
 * @property {number | null} [k] most candidates to give; all
 * @property {object | null} [where] which candidates may be given, such as `{ user: 'anna', year: { $gte: 2020 } }`
 * @property {number | null} [diversity] from 0 (by score alone) to 1 (unlike what is already taken)
 * @property {number | string | Date | null} [now] time of the request; the present
 */

/**
 * @typedef {object} RoutingDecision
 * @property {string} candidateId
 * @property {number} confidence calibrated probability that the candidate is relevant; where nothing was calibrated, its
 *   score
 * @property {boolean} useLightweight whether a light model will do: confidence is at least `confidenceThreshold` and
 *   uncertainty at most `maxUncertainty`. Never where nothing was calibrated
 * @property {number} uncertainty smallest α at which "relevant" or "irrelevant" alone is the conformal prediction set; 1
 *   where nothing was calibrated
 */

/**
 * @typedef {object} RoutingResponse
 * @property {RoutingDecision[]} decisions best first; equal scores by id
 * @property {number} inferenceTimeUs microseconds in the engine
 * @property {{ candidateId: string, reason: string }[]} errors candidates that took no part, and why
 * @property {boolean} calibrated whether confidence and uncertainty come from calibration
 * @property {2 | 3} [level] only where the artifact could not be asked: 2 the combination without training, 3 as given
 * @property {string} [levelReason] why
 */

/**
 * @typedef {object} CandidateQuery
 * @property {string | null} [text]
 * @property {Embedding | null} [embedding]
 * @property {Json} [metadata]
 * @property {number | string | Date | null} [now] the present where absent
 * @property {number | null} [k] most candidates to give; 5
 * @property {object | null} [where]
 * @property {number | null} [diversity]
 * @property {number | null} [confidence_threshold]
 * @property {number | null} [max_uncertainty]
 */

/**
 * @typedef {object} RankedCandidate
 * @property {string} candidate_id
 * @property {number} score
 * @property {number} confidence
 * @property {number} uncertainty
 * @property {boolean} use_lightweight
 * @property {boolean} in_prediction_set
 * @property {Record<string, number>} features
 */

/**
 * @typedef {object} Ranking
 * @property {RankedCandidate[]} decisions best first
 * @property {{ candidate_id: string, reason: string }[]} errors
 * @property {number | null} prediction_set_size
 * @property {boolean} calibrated
 * @property {2 | 3} [level] as in a {@link RoutingResponse}
 * @property {string} [level_reason]
 */

/**
 * A text, or a vector with the name of the encoder that made it.
 * @typedef {string | { text: string } | { vector: readonly number[], encoder: string }} RouteRequest
 */

/**
 * @typedef {object} Selection
 * @property {{ id: string, score: number, relevance: number, kept: boolean }[]} tools best first
 * @property {number} considered how many tools there are
 */

/**
 * @typedef {object} AgentChoice
 * @property {string} agent
 * @property {number} quality
 * @property {number | null} cost
 * @property {number | null} latency
 * @property {number | null} utility
 * @property {number} confidence
 * @property {string | null} runner_up
 * @property {number} suitable
 * @property {Record<string, string>} removed
 * @property {string} reason
 */
