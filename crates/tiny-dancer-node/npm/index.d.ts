// Generated from lib by `make node-types`.

/** What every error is. `code` is a kind of the engine's, or what kept the engine from being asked. */
export class TinyDancerError extends Error {
    readonly code:
        | 'ArtifactInvalid' | 'ArtifactVersion' | 'ArtifactChecksum' | 'ArtifactSelfCheck' | 'EncoderMissing'
        | 'RequestInvalid' | 'OptionInvalid' | 'NoFeasibleModel' | 'CandidateInvalid'
        | 'NotInitialised' | 'ModuleMissing' | 'EngineStopped';
    /** What is at fault. */
    readonly field: string;
    /** What was found there. */
    readonly value: string;
    /** What to do about it. */
    readonly remedy: string;
}
/** Which engine answers. */
export const backend: 'native' | 'wasm';
/** The native module's package; or why there is none under it. */
export const backendReason: string;
/**
 * Compiles the WebAssembly module, from `tiny-dancer.wasm` beside the package or from what is given: to be awaited once
 * where the package runs outside Node. In Node nothing is left to do.
 */
export function init(source?: URL | string | ArrayBuffer | Uint8Array | object | Promise<object>): Promise<void>;
/**
 * Anything JSON can say.
 */
export type Json = null | boolean | number | string | readonly unknown[] | {
    readonly [name: string]: unknown;
};
/**
 * Bytes of a file. They are read where they lie; leave them as they are while what was made of them serves: the
 * WebAssembly module may have to read them again.
 */
export type Bytes = Uint8Array | ArrayBuffer;
/**
 * An embedding. A Float32Array is read where it lies, whatever its offset. A Buffer is the bytes of little-endian
 * float32, as databases give them; any other typed array and any list is its numbers.
 */
export type Embedding = Float32Array | Float64Array | Int8Array | Int16Array | Int32Array | Uint8Array | readonly number[];
/**
 * An artifact and the encoder it names: each from a file, or as bytes. An encoder that is not given is looked for in the
 * package `tiny-dancer-encoder`.
 */
export type ArtifactConfig = {
    /**
     * file of the artifact; a file that is missing is an error
     */
    modelPath?: string | URL | undefined;
    /**
     * its bytes, in place of `modelPath`
     */
    artifact?: Bytes | undefined;
    /**
     * file of the encoder
     */
    encoderPath?: string | URL | undefined;
    /**
     * its bytes, in place of `encoderPath`
     */
    encoder?: Bytes | undefined;
};
export type RankingConfig = {
    /**
     * least calibrated confidence at which `useLightweight` is true; 0.85
     */
    confidenceThreshold?: number | undefined;
    /**
     * largest uncertainty at which `useLightweight` is true; 0.15
     */
    maxUncertainty?: number | undefined;
    /**
     * keep embeddings as int8: a quarter of the memory, cosines within about .01;
     * false
     */
    enableQuantization?: boolean | undefined;
    /**
     * stop asking an artifact that keeps failing, for a while; true
     */
    enableCircuitBreaker?: boolean | undefined;
    /**
     * failures within 60 seconds that open the breaker; 5
     */
    circuitBreakerThreshold?: number | undefined;
};
/**
 * `artifact` or `modelPath` may be an artifact of models (for `decide`) or of candidates (for `route`). Without one,
 * `decide` uses the artifact that ships and `route` the combination without training. `models`: an object a model, in the
 * artifact's order, whose fields (`name`, prices, …) replace the model's.
 */
export type RouterConfig = ArtifactConfig & RankingConfig & {
    models?: readonly object[];
};
/**
 * What is asked beyond the request, by the names every language has.
 */
export type DecideOptions = {
    /**
     * most USD the answer may cost
     */
    max_cost?: number | null | undefined;
    /**
     * least quality to expect, in [0, 1]
     */
    min_quality?: number | null | undefined;
    /**
     * most seconds the answer may take
     */
    max_latency?: number | null | undefined;
    /**
     * only these models
     */
    allowed?: readonly string[] | null | undefined;
    /**
     * not these
     */
    exclude?: readonly string[] | null | undefined;
    /**
     * this one, whatever the policy says
     */
    pin?: string | null | undefined;
    /**
     * another threshold on the gain than the artifact's
     */
    threshold?: number | null | undefined;
    /**
     * another quality per unit of cost than the artifact's
     */
    cost_weight?: number | null | undefined;
    /**
     * one of the artifact's policies
     */
    policy?: "quality" | "balanced" | "cheapest" | null | undefined;
    /**
     * of any model, where the caller knows
     */
    expected_output_tokens?: number | null | undefined;
    /**
     * the model the conversation is with
     */
    current?: string | null | undefined;
    /**
     * tokens in the models' prompt caches
     */
    cached_tokens?: Readonly<Record<string, number>> | null | undefined;
};
/**
 * The model to call, and everything there is to say about the choice. Null is unknown.
 */
export type Decision = {
    model: string;
    /**
     * expected quality of each model
     */
    scores: Record<string, number>;
    /**
     * expected USD
     */
    costs: Record<string, number | null>;
    /**
     * expected seconds
     */
    latencies: Record<string, number | null>;
    /**
     * of the prompt
     */
    tokens: number;
    /**
     * expected
     */
    output_tokens: Record<string, number | null>;
    /**
     * what removed which model
     */
    removed: Record<string, string>;
    /**
     * expected of the model chosen
     */
    quality: number | null;
    cost: number | null;
    /**
     * calibrated probability that no other model would have been better
     */
    confidence: number | null;
    /**
     * p-value of "the request is like those the artifact was calibrated on"
     */
    likeness: number | null;
    /**
     * models that may be the best one
     */
    prediction_set: string[];
    reason: string;
    routed_by: string;
    /**
     * the certificate the decision stands under
     */
    guarantee: Record<string, Json> | null;
    /**
     * why there is none
     */
    guarantee_note: string;
    artifact_version: string;
    /**
     * only where the artifact could not be asked: 2 rules, 3 the model that is best for all requests;
     * what only the artifact knows is then null
     */
    level?: 2 | 3 | undefined;
    /**
     * why
     */
    level_reason?: string | undefined;
};
/**
 * A memory, a tool, a document, a model. Everything but the id may be absent. Names with an underscore
 * (`created_at`) are taken as well.
 */
export type Candidate = {
    /**
     * unique among the candidates
     */
    id: string;
    /**
     * as wide as the others'
     */
    embedding?: Embedding | null | undefined;
    /**
     * what it says
     */
    text?: string | null | undefined;
    /**
     * an object of properties, or its JSON as text
     */
    metadata?: Json | undefined;
    /**
     * seconds, milliseconds, microseconds or nanoseconds since 1970, told
     * apart by size; or ISO 8601
     */
    createdAt?: string | number | Date | null | undefined;
    /**
     * how often it was used
     */
    accessCount?: number | null | undefined;
    /**
     * share of its uses that helped, in [0, 1]
     */
    successRate?: number | null | undefined;
    /**
     * uses the rate was counted over; `accessCount` where absent
     */
    trials?: number | null | undefined;
    /**
     * how sure its maker is of it, in [0, 1]
     */
    confidence?: number | null | undefined;
    /**
     * the conversation or document it is part of
     */
    group?: string | null | undefined;
    /**
     * place within the group
     */
    position?: number | null | undefined;
    /**
     * from when on it takes no part
     */
    expiresAt?: string | number | Date | null | undefined;
    /**
     * where it belongs, from the widest part to the narrowest
     */
    namespace?: readonly string[] | null | undefined;
};
export type RoutingRequest = {
    /**
     * as wide as the candidates'
     */
    queryEmbedding?: Embedding | null | undefined;
    /**
     * the request's words, beside its embedding or in its place
     */
    text?: string | null | undefined;
    candidates: readonly Candidate[];
    /**
     * of all candidates, row after row, in place of `embedding` of each
     */
    embeddings?: Float32Array<ArrayBufferLike> | null | undefined;
    /**
     * properties of the request, compared with the candidates' own: an object, or its JSON
     */
    metadata?: Json | undefined;
    /**
     * most candidates to give; all
     */
    k?: number | null | undefined;
    /**
     * which candidates may be given, such as `{ user: 'anna', year: { $gte: 2020 } }`
     */
    where?: object | null | undefined;
    /**
     * from 0 (by score alone) to 1 (unlike what is already taken)
     */
    diversity?: number | null | undefined;
    /**
     * time of the request; the present
     */
    now?: string | number | Date | null | undefined;
};
export type RoutingDecision = {
    candidateId: string;
    /**
     * calibrated probability that the candidate is relevant; where nothing was calibrated, its
     * score
     */
    confidence: number;
    /**
     * whether a light model will do: confidence is at least `confidenceThreshold` and
     * uncertainty at most `maxUncertainty`. Never where nothing was calibrated
     */
    useLightweight: boolean;
    /**
     * smallest α at which "relevant" or "irrelevant" alone is the conformal prediction set; 1
     * where nothing was calibrated
     */
    uncertainty: number;
};
export type RoutingResponse = {
    /**
     * best first; equal scores by id
     */
    decisions: RoutingDecision[];
    /**
     * microseconds in the engine
     */
    inferenceTimeUs: number;
    /**
     * candidates that took no part, and why
     */
    errors: {
        candidateId: string;
        reason: string;
    }[];
    /**
     * whether confidence and uncertainty come from calibration
     */
    calibrated: boolean;
    /**
     * only where the artifact could not be asked: 2 the combination without training, 3 as given
     */
    level?: 2 | 3 | undefined;
    /**
     * why
     */
    levelReason?: string | undefined;
};
export type CandidateQuery = {
    text?: string | null | undefined;
    embedding?: Embedding | null | undefined;
    metadata?: Json | undefined;
    /**
     * the present where absent
     */
    now?: string | number | Date | null | undefined;
    /**
     * most candidates to give; 5
     */
    k?: number | null | undefined;
    where?: object | null | undefined;
    diversity?: number | null | undefined;
    confidence_threshold?: number | null | undefined;
    max_uncertainty?: number | null | undefined;
};
export type RankedCandidate = {
    candidate_id: string;
    score: number;
    confidence: number;
    uncertainty: number;
    use_lightweight: boolean;
    in_prediction_set: boolean;
    features: Record<string, number>;
};
export type Ranking = {
    /**
     * best first
     */
    decisions: RankedCandidate[];
    errors: {
        candidate_id: string;
        reason: string;
    }[];
    prediction_set_size: number | null;
    calibrated: boolean;
    /**
     * as in a {@link RoutingResponse}
     */
    level?: 2 | 3 | undefined;
    level_reason?: string | undefined;
};
/**
 * A text, or a vector with the name of the encoder that made it.
 */
export type RouteRequest = string | {
    text: string;
} | {
    vector: readonly number[];
    encoder: string;
};
export type Selection = {
    /**
     * best first
     */
    tools: {
        id: string;
        score: number;
        relevance: number;
        kept: boolean;
    }[];
    /**
     * how many tools there are
     */
    considered: number;
};
export type AgentChoice = {
    agent: string;
    quality: number;
    cost: number | null;
    latency: number | null;
    utility: number | null;
    confidence: number;
    runner_up: string | null;
    suitable: number;
    removed: Record<string, string>;
    reason: string;
};
/** Requests to models (`decide`), and queries to candidates given with them (`route`). */
export class Router {
    /** @param {RouterConfig} [config] */
    constructor(config?: RouterConfig);
    /**
     * Decides which model to call.
     * @param {string | readonly object[] | object | Bytes} request a text, a list of messages or the body of a call, in any
     *   dialect; or JSON of one of these as bytes in UTF-8, read where they lie
     * @param {DecideOptions | null} [options]
     * @returns {Decision}
     */
    decide(request: string | readonly object[] | object | Bytes, options?: DecideOptions | null): Decision;
    /**
     * Decides many requests with the same options on other threads, in order.
     * @param {readonly (string | readonly object[] | object | Bytes)[]} requests
     * @param {DecideOptions | null} [options]
     * @returns {Promise<Decision[]>}
     */
    decideBatch(requests: readonly (string | readonly object[] | object | Bytes)[], options?: DecideOptions | null): Promise<Decision[]>;
    /**
     * Ranks candidates for a query.
     * @param {RoutingRequest} request
     * @returns {Promise<RoutingResponse>}
     */
    route(request: RoutingRequest): Promise<RoutingResponse>;
    /**
     * Serves what the file at `modelPath` has now. Where that does not load, what served goes on serving.
     * @returns {Promise<void>}
     */
    reloadModel(): Promise<void>;
    /**
     * Whether the artifact is asked: true while its breaker is closed, false while it is open or lets single calls through,
     * and null where there is none (`enableCircuitBreaker` is false, or the engine is the WebAssembly module, in which a
     * fault ends the call it happens in and the next one is asked of a fresh instance). While it is false, stated rules
     * answer `decide` and the combination without training answers `route`.
     * @returns {boolean | null}
     */
    circuitBreakerStatus(): boolean | null;
    #private;
}
/** Queries to candidates that stay: made once, asked often. */
export class CandidateRouter {
    /**
     * `artifact`: a trained scorer; none is the combination without training. With an encoder, texts of candidates without
     * embeddings are encoded.
     * @param {ArtifactConfig & RankingConfig} [config]
     */
    constructor(config?: ArtifactConfig & RankingConfig);
    /**
     * Adds candidates, all or none.
     * @param {readonly Candidate[]} candidates
     * @param {Float32Array} [embeddings] of all of them, row after row, in place of `embedding` of each
     * @returns {void}
     */
    add(candidates: readonly Candidate[], embeddings?: Float32Array): void;
    /**
     * Ranks the candidates.
     * @param {CandidateQuery} query
     * @returns {Ranking}
     */
    rank(query: CandidateQuery): Ranking;
    /**
     * Ids and confidences of the `k` best for an embedding, and nothing else: the fastest way to ask.
     * @param {Embedding} embedding
     * @param {number} [k]
     * @returns {{ candidate_id: string, score: number, confidence: number, uncertainty: number, use_lightweight: boolean, in_prediction_set: boolean }[]}
     */
    nearest(embedding: Embedding, k?: number): {
        candidate_id: string;
        score: number;
        confidence: number;
        uncertainty: number;
        use_lightweight: boolean;
        in_prediction_set: boolean;
    }[];
    /**
     * Ranks for many queries on another thread, in order.
     * @param {readonly CandidateQuery[]} queries
     * @returns {Promise<Ranking[]>}
     */
    rankBatch(queries: readonly CandidateQuery[]): Promise<Ranking[]>;
    #private;
}
/** Requests to routes, by an artifact. */
export class SemanticRouter {
    /** @param {ArtifactConfig} config */
    constructor(config: ArtifactConfig);
    /**
     * @param {RouteRequest} request
     * @param {object | null} [options]
     * @returns {Record<string, any>}
     */
    route(request: RouteRequest, options?: object | null): Record<string, any>;
    /**
     * Routes many requests with the same options on other threads, in order.
     * @param {readonly RouteRequest[]} requests
     * @param {object | null} [options]
     * @returns {Promise<Record<string, any>[]>}
     */
    routeBatch(requests: readonly RouteRequest[], options?: object | null): Promise<Record<string, any>[]>;
    #private;
}
/** Requests to the tools they need. */
export class ToolSelector {
    /**
     * `artifact`: what was learned of use. With an encoder, meaning counts beside words.
     * @param {ArtifactConfig} [config]
     */
    constructor(config?: ArtifactConfig);
    /**
     * Adds tools in any dialect; gives their ids.
     * @param {object} tools
     * @returns {string[]}
     */
    add(tools: object): string[];
    /**
     * @param {object} query `text` or `messages`, `k`, `relevance_threshold`, `preserve_count`, `namespaces`, `keep`, `tool_choice`
     * @returns {Selection}
     */
    select(query: object): Selection;
    #private;
}
/** Requests to agents. */
export class AgentRouter {
    /** @param {{ halfLife?: number | null }} [config] `halfLife` of what is observed, in seconds */
    constructor(config?: {
        halfLife?: number | null;
    });
    /**
     * An agent or a list of them, all or none; one of a known name is replaced.
     * @param {object} agents
     * @returns {void}
     */
    put(agents: object): void;
    /**
     * @param {object} [query]
     * @returns {AgentChoice & Record<string, any>}
     */
    choose(query?: object): AgentChoice & Record<string, any>;
    /**
     * The state of an agent after an outcome; put the agent with it.
     * @param {object | null | undefined} state
     * @param {object} outcome
     * @returns {Record<string, any>}
     */
    observe(state: object | null | undefined, outcome: object): Record<string, any>;
    #private;
}
/** Texts to kinds of tasks, by an artifact. */
export class TaskClassifier {
    /** @param {ArtifactConfig} config */
    constructor(config: ArtifactConfig);
    /**
     * @param {string} text
     * @returns {Record<string, any>}
     */
    classify(text: string): Record<string, any>;
    /**
     * Classifies many on other threads, in order.
     * @param {readonly string[]} texts
     * @returns {Promise<Record<string, any>[]>}
     */
    classifyBatch(texts: readonly string[]): Promise<Record<string, any>[]>;
    #private;
}
