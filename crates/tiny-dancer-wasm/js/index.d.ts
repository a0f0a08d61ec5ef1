/** What every error has. `code` is a kind of the engine's, `NotInitialised`, `ModuleMissing` or `EngineStopped`. */
export class TinyDancerError extends Error {
  readonly code:
    | 'ArtifactInvalid' | 'ArtifactVersion' | 'ArtifactChecksum' | 'ArtifactSelfCheck' | 'EncoderMissing'
    | 'RequestInvalid' | 'OptionInvalid' | 'NoFeasibleModel' | 'CandidateInvalid'
    | 'NotInitialised' | 'ModuleMissing' | 'EngineStopped' | 'NotInModule'
  readonly field: string
  readonly value: string
  readonly remedy: string
}

type Bytes = Uint8Array | ArrayBuffer
type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json | undefined }
interface Encoded {
  /** The encoder that the artifact names, or that is to compare texts. */
  encoder?: Bytes
}

/** Compiles the module; await it once. Without a source it is `tiny-dancer.wasm` beside this file. */
export function init(
  source?: URL | string | BufferSource | Response | WebAssembly.Module | Promise<Response | WebAssembly.Module>,
): Promise<void>

/**
 * Where the module is that only routes requests, by artifacts that name no encoder: `await init(edge)`.
 * What it does not do is a `NotInModule`.
 */
export const edge: URL

export interface Decision {
  readonly model: string
  readonly scores: Readonly<Record<string, number>>
  readonly costs: Readonly<Record<string, number | null>>
  readonly latencies: Readonly<Record<string, number | null>>
  readonly tokens: number
  readonly output_tokens: Readonly<Record<string, number | null>>
  readonly removed: Readonly<Record<string, string>>
  readonly quality: number | null
  readonly cost: number | null
  readonly confidence: number | null
  readonly likeness: number | null
  readonly prediction_set: readonly string[] | null
  readonly reason: string
  readonly routed_by: string
  readonly guarantee: Json
  readonly guarantee_note: string | null
  readonly artifact_version: string
}

export class Router {
  /** `models`: one object a model, in the artifact's order, whose fields replace the model's. */
  constructor(artifact: Bytes, given?: Encoded & { models?: readonly object[] })
  /** A request in any dialect (a string, a list of messages, the body of a call) and options by name. */
  decide(request: Json | object, options?: object): Decision
  /** The same, as JSON text in and out: nothing is read or written twice. */
  decideJson(request: string, options?: string): string
}

export class SemanticRouter {
  constructor(artifact: Bytes, given?: Encoded)
  route(request: string | { text?: string; vector?: readonly number[]; encoder?: string }, options?: object): {
    readonly [name: string]: Json
  }
}

export interface Selection {
  readonly tools: readonly { readonly id: string; readonly score: number; readonly relevance: number; readonly kept: boolean }[]
  readonly considered: number
}

export class ToolSelector {
  /** `artifact`: what was learned of use. */
  constructor(given?: Encoded & { artifact?: Bytes })
  /** Tools in any dialect; gives their ids. */
  add(tools: object): string[]
  select(query: object): Selection
}

export interface AgentChoice {
  readonly agent: string
  readonly quality: number
  readonly cost: number | null
  readonly latency: number | null
  readonly utility: number | null
  readonly confidence: number
  readonly runner_up: string | null
  readonly suitable: number
  readonly removed: Readonly<Record<string, string>>
  readonly reason: string
  readonly [name: string]: unknown
}

export class AgentRouter {
  /** `halfLife` of what is observed, in seconds. */
  constructor(given?: { halfLife?: number })
  /** An agent or a list of them, all or none; one of a known name is replaced. */
  put(agents: object): void
  choose(query?: object): AgentChoice
  /** The state of an agent after an outcome; put the agent with it. */
  observe(state: object | null | undefined, outcome: object): object
}

export interface Ranking {
  readonly decisions: readonly {
    readonly candidate_id: string
    readonly score: number
    readonly confidence: number
    readonly uncertainty: number
    readonly use_lightweight: boolean
    readonly in_prediction_set: boolean
    readonly features: Readonly<Record<string, number>>
  }[]
  readonly errors: readonly { readonly candidate_id: string; readonly reason: string }[]
  readonly prediction_set_size: number | null
  readonly calibrated: boolean
}

type Embedding = Float32Array | readonly number[]

/** What a `CandidateRouter` is made with, set one by one. */
export class RouterConfig {
  set_confidence_threshold(threshold: number): void
  set_max_uncertainty(uncertainty: number): void
  set_artifact(artifact: Bytes): void
}

export interface RoutingRequest {
  readonly queryEmbedding?: Embedding
  readonly candidates: readonly {
    readonly id: string
    readonly embedding?: Embedding
    readonly text?: string
    readonly metadata?: object
    readonly createdAt?: number
    readonly accessCount?: number
    readonly successRate?: number
  }[]
  readonly text?: string
  readonly k?: number
  readonly [option: string]: unknown
}

export interface RoutingResponse {
  /** Best first. */
  readonly decisions: readonly {
    readonly candidateId: string
    readonly confidence: number
    readonly useLightweight: boolean
    readonly uncertainty: number
  }[]
  readonly inferenceTimeUs: number
  /** Candidates that took no part, and why. */
  readonly errors: readonly { readonly candidateId: string; readonly reason: string }[]
}

export class CandidateRouter {
  /** `artifact`: a trained scorer. */
  constructor(given?: RouterConfig | (Encoded & { artifact?: Bytes; confidenceThreshold?: number; maxUncertainty?: number }))
  /** A list of candidates, all or none; embeddings row after row, or in each candidate. */
  add(candidates: readonly object[], embeddings?: Embedding): void
  rank(query: object, embedding?: Embedding): Ranking
  /** Ranks these candidates and no others; the ones added before are forgotten. */
  route(request: RoutingRequest): RoutingResponse
}

export class TaskClassifier {
  constructor(artifact: Bytes, given?: Encoded)
  classify(text: string): { readonly [name: string]: Json }
}
