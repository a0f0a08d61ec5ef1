/* Tiny Dancer's decision engine for C. Written by cbindgen from crates/tiny-dancer-ffi/src; do not edit.
 *
 * Texts are UTF-8 with a length, and need no zero at their end; where the length is 0 the pointer may be NULL.
 * Every call that can fail gives a td_code; what went wrong is then at td_error_message and its like, of this thread.
 * No call panics or exits, and none keeps what it was given a pointer to.
 * An object may be used by many threads at once. It must not be used while or after it is freed.
 */

#ifndef TINY_DANCER_H
#define TINY_DANCER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Grows whenever a function changes so that a program built against an older header would misunderstand it.
 */
#define TD_ABI_VERSION 0

/**
 * Whether a call did what it should, and else what kind of thing went wrong.
 */
typedef enum {
  /**
   * It did what it should.
   */
  TD_CODE_OK = 0,
  /**
   * Bytes that are no artifact, or one that contradicts itself.
   */
  TD_CODE_ARTIFACT_INVALID = 1,
  /**
   * A sound artifact of a format version this library does not read.
   */
  TD_CODE_ARTIFACT_VERSION = 2,
  /**
   * Bytes that differ from their checksum.
   */
  TD_CODE_ARTIFACT_CHECKSUM = 3,
  /**
   * The artifact does not decide as it did when it was made.
   */
  TD_CODE_ARTIFACT_SELF_CHECK = 4,
  /**
   * The artifact needs the encoder and none, or another, was given.
   */
  TD_CODE_ENCODER_MISSING = 5,
  /**
   * A request that cannot be routed as it stands.
   */
  TD_CODE_REQUEST_INVALID = 6,
  /**
   * A constraint or option outside its range, or naming an unknown model.
   */
  TD_CODE_OPTION_INVALID = 7,
  /**
   * No model satisfies the constraints.
   */
  TD_CODE_NO_FEASIBLE_MODEL = 8,
  /**
   * A candidate or candidate set that cannot be used.
   */
  TD_CODE_CANDIDATE_INVALID = 9,
  /**
   * An argument of the call itself: a pointer that is NULL, misaligned or of another kind, a size beyond memory.
   */
  TD_CODE_ARGUMENT_INVALID = 100,
  /**
   * The engine panicked; the object goes on as before. Please report it.
   */
  TD_CODE_ENGINE_STOPPED = 101,
} td_code;

/**
 * Agents: which of many answers a request.
 */
typedef struct td_agents td_agents;

/**
 * Candidates, and what ranks them: which memories, tools or documents are worth passing on.
 */
typedef struct td_candidates td_candidates;

/**
 * An encoder of texts, which objects share.
 */
typedef struct td_encoder td_encoder;

/**
 * A router: which model answers a request.
 */
typedef struct td_router td_router;

/**
 * Semantic routes: which intent a text has, if any.
 */
typedef struct td_routes td_routes;

/**
 * A classifier of tasks: what a request asks for, and what it takes.
 */
typedef struct td_tasks td_tasks;

/**
 * Tools: which of many a request needs.
 */
typedef struct td_tools td_tools;

/**
 * A text the library made: UTF-8 of `length` bytes, and a zero after them. Free it with td_text_free.
 *
 * Whatever a text held before is not looked at, so that it need not be set to anything before a call, and must be
 * freed before it is used for the next answer. After a call that failed it is empty, and may be freed or not.
 */
typedef struct {
  /**
   * The text; NULL where it is empty.
   */
  char *data;
  /**
   * Its bytes.
   */
  size_t length;
  /**
   * Of the library.
   */
  size_t capacity;
} td_text;

/**
 * How candidates are to be ranked by numbers.
 */
typedef struct {
  /**
   * From 0, by score alone, to 1, unlike what is already taken.
   */
  float diversity;
  /**
   * Least confidence for a light model.
   */
  float confidence_threshold;
  /**
   * Largest uncertainty for a light model.
   */
  float max_uncertainty;
} td_rank_options;

/**
 * One candidate of an answer.
 */
typedef struct {
  /**
   * Its row: how many were added before it.
   */
  uint32_t row;
  /**
   * What it is ranked by.
   */
  float score;
  /**
   * That it is relevant, in [0, 1]; calibrated where the ranking is.
   */
  float confidence;
  /**
   * In [0, 1].
   */
  float uncertainty;
  /**
   * Whether a light model may do with it.
   */
  bool use_lightweight;
  /**
   * Whether it is of those among which a relevant one is, at the artifact's coverage.
   */
  bool in_prediction_set;
} td_ranked;

/**
 * What there is to say about an answer beside its candidates.
 */
typedef struct {
  /**
   * Candidates given.
   */
  size_t count;
  /**
   * Candidates that took no part, since their embeddings hold NaN or infinity.
   */
  size_t unsound;
  /**
   * Candidates among which a relevant one is, where it is calibrated; else 0.
   */
  size_t prediction_set_size;
  /**
   * Whether confidence and uncertainty come from calibration.
   */
  bool calibrated;
  /**
   * Who answered: 0 the scorer, 2 the combination without training, 3 nobody: as they were added.
   */
  uint8_t level;
} td_ranking;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Frees a text and makes it empty; twice does no harm, nor does NULL.
 *
 * # Safety
 * `text` is NULL, or what a call of this library has filled in.
 */
void td_text_free(td_text *text);

/**
 * What functions mean: of this library; it must be the TD_ABI_VERSION of the header.
 */
uint32_t td_abi_version(void);

/**
 * Version of the library, such as "0.1.0".
 */
const char *td_version(void);

/**
 * What the last call of this thread that failed has to say, in one sentence: field, value and remedy; empty where none
 * failed. This and its like stay until the next call of this thread that fails.
 */
const char *td_error_message(void);

/**
 * The name of its code, such as "OptionInvalid".
 */
const char *td_error_kind(void);

/**
 * What was at fault: a field, an option, a tensor, an argument.
 */
const char *td_error_field(void);

/**
 * What was found there, shortened.
 */
const char *td_error_value(void);

/**
 * What to do about it.
 */
const char *td_error_remedy(void);

/**
 * The same as JSON: an object of `code`, `field`, `value` and `remedy`.
 *
 * # Safety
 * `answer` points to room for a text.
 */
td_code td_error_json(td_text *answer);

/**
 * Loads an encoder: `encoder.safetensors` for routers and tasks, `sentences.safetensors` for routes and tools.
 *
 * # Safety
 * `bytes` has `length` bytes, which are not kept; `encoder` points to room for a pointer.
 */
td_code td_encoder_load(const uint8_t *bytes,
                        size_t length,
                        td_encoder **encoder);

/**
 * Frees an encoder and makes the pointer to it NULL. Objects that were made with it keep what they need.
 *
 * # Safety
 * What it points to was made by this library, is in use by no call, and not freed, or is NULL.
 */
void td_encoder_free(td_encoder **encoder);

/**
 * Loads a router from an artifact.
 *
 * `encoder`: NULL for artifacts that need none. `changes`: a JSON list of objects, one a model, whose fields (`name`,
 * `price_input`, …) replace the model's; empty changes nothing. `breaker`: NULL, and what goes wrong in the engine is
 * an error; or a JSON object (`threshold`, `window`, `failure_rate`, `minimum_calls`, `cooldown`, `longest_cooldown`,
 * `jitter`, `probes`, `probe_timeout`, `seed`), of which an empty text or `{}` is the defaults: then a circuit breaker
 * stands before what was learned, and stated rules or the default model decide while it fails. Such an answer names its
 * `level` and `level_reason`.
 *
 * # Safety
 * Pointers have as many bytes as is said beside them, which are not kept; `router` points to room for a pointer.
 */
td_code td_router_load(const uint8_t *artifact,
                       size_t artifact_length,
                       const td_encoder *encoder,
                       const char *changes,
                       size_t changes_length,
                       const char *breaker_options,
                       size_t breaker_length,
                       td_router **router);

/**
 * Decides a request.
 *
 * `request`: JSON as a client sends it, in any dialect: a string, a list of messages, or the body of a call. `options`:
 * a JSON object of options by name, or empty. `answer`: JSON: `model`, `reason`, `scores`, `costs` and all the rest.
 *
 * # Safety
 * As td_router_load; `answer` points to room for a text.
 */
td_code td_router_decide(const td_router *router,
                         const char *request,
                         size_t request_length,
                         const char *options,
                         size_t options_length,
                         td_text *answer);

/**
 * Loads another artifact, with the encoder and changes the router has, and serves it from the next call on. Calls under
 * way finish on the one they began with. Where it cannot be loaded, the one that serves goes on serving.
 *
 * # Safety
 * As td_router_load.
 */
td_code td_router_reload(const td_router *router,
                         const uint8_t *artifact,
                         size_t artifact_length);

/**
 * How a router stands, as JSON: `breaker` (`state`, `failures`, `openings`, `retry_in`, `probes`; null without one),
 * `answered` by level (counted where there is a breaker), `reload_error`.
 *
 * # Safety
 * As td_router_decide.
 */
td_code td_router_status(const td_router *router,
                         td_text *answer);

/**
 * Frees a router and makes the pointer to it NULL.
 *
 * # Safety
 * As td_encoder_free.
 */
void td_router_free(td_router **router);

/**
 * Loads routes from an artifact.
 *
 * # Safety
 * As td_router_load.
 */
td_code td_routes_load(const uint8_t *artifact,
                       size_t artifact_length,
                       const td_encoder *encoder,
                       td_routes **routes);

/**
 * Routes a request: `{"text": …}`, or `{"vector": […], "encoder": …}`; `options` as JSON, or empty.
 *
 * # Safety
 * As td_router_decide.
 */
td_code td_routes_decide(const td_routes *routes,
                         const char *request,
                         size_t request_length,
                         const char *options,
                         size_t options_length,
                         td_text *answer);

/**
 * Frees routes and makes the pointer to them NULL.
 *
 * # Safety
 * As td_encoder_free.
 */
void td_routes_free(td_routes **routes);

/**
 * Makes an empty set of tools, with what was learned of use, or an empty artifact for none.
 *
 * # Safety
 * As td_router_load.
 */
td_code td_tools_new(const uint8_t *artifact,
                     size_t artifact_length,
                     const td_encoder *encoder,
                     td_tools **tools);

/**
 * Adds tools, in any dialect, as JSON; `answer` is the list of their ids. All are added, or none.
 *
 * # Safety
 * As td_router_decide.
 */
td_code td_tools_add(const td_tools *tools, const char *json, size_t length, td_text *answer);

/**
 * Selects the tools a request needs: an object of `text` or `messages`, `k`, and other fields of a query.
 *
 * # Safety
 * As td_router_decide.
 */
td_code td_tools_select(const td_tools *tools, const char *query, size_t length, td_text *answer);

/**
 * Frees tools and makes the pointer to them NULL.
 *
 * # Safety
 * As td_encoder_free.
 */
void td_tools_free(td_tools **tools);

/**
 * Makes an empty set of agents. `half_life`: seconds after which what was observed counts half; NAN: it never ages.
 *
 * # Safety
 * `agents` points to room for a pointer.
 */
td_code td_agents_new(double half_life,
                      td_agents **agents);

/**
 * Puts agents in: one object, or a list of them; one of a name that is there replaces it.
 *
 * # Safety
 * As td_router_load.
 */
td_code td_agents_put(const td_agents *agents, const char *json, size_t length);

/**
 * Chooses an agent for a query.
 *
 * # Safety
 * As td_router_decide.
 */
td_code td_agents_choose(const td_agents *agents, const char *query, size_t length, td_text *answer);

/**
 * Counts an outcome: `answer` is the agent's state after it. `state`: the one before, or empty.
 *
 * # Safety
 * As td_router_decide.
 */
td_code td_agents_observe(const td_agents *agents,
                          const char *state,
                          size_t state_length,
                          const char *outcome,
                          size_t outcome_length,
                          td_text *answer);

/**
 * Frees agents and makes the pointer to them NULL.
 *
 * # Safety
 * As td_encoder_free.
 */
void td_agents_free(td_agents **agents);

/**
 * Loads a classifier of tasks from an artifact.
 *
 * # Safety
 * As td_router_load.
 */
td_code td_tasks_load(const uint8_t *artifact,
                      size_t artifact_length,
                      const td_encoder *encoder,
                      td_tasks **tasks);

/**
 * Classifies a request: `{"text": …}`.
 *
 * # Safety
 * As td_router_decide.
 */
td_code td_tasks_classify(const td_tasks *tasks, const char *request, size_t length, td_text *answer);

/**
 * Frees a classifier and makes the pointer to it NULL.
 *
 * # Safety
 * As td_encoder_free.
 */
void td_tasks_free(td_tasks **tasks);

/**
 * Makes an empty set of candidates, ranked by the scorer of an artifact, or, where that is empty, by the combination
 * without training. With an encoder, candidates without embeddings are compared by those of their texts. `breaker` as
 * in td_router_load.
 *
 * # Safety
 * As td_router_load.
 */
td_code td_candidates_new(const uint8_t *artifact,
                          size_t artifact_length,
                          const td_encoder *encoder,
                          const char *breaker_options,
                          size_t breaker_length,
                          td_candidates **candidates);

/**
 * Adds candidates, a JSON list of objects; all, or none.
 *
 * `embeddings`: NULL, or as many rows of as many numbers as there are candidates, one after the other, `numbers` in all.
 *
 * # Safety
 * As td_router_load.
 */
td_code td_candidates_add(const td_candidates *candidates,
                          const char *json,
                          size_t length,
                          const float *embeddings,
                          size_t numbers);

/**
 * Ranks the candidates for a query, a JSON object; see docs/guides/embed.md. `embedding`: the query's, or NULL.
 *
 * # Safety
 * As td_router_decide.
 */
td_code td_candidates_rank(const td_candidates *candidates,
                           const char *query,
                           size_t length,
                           const float *embedding,
                           size_t dimensions,
                           td_text *answer);

/**
 * Adds `count` candidates by their embeddings alone: rows of `dimensions` numbers, one after the other; all, or none.
 *
 * `ids`: as many texts that end with a zero, or NULL, and their ids are their rows, of ten digits. Equal scores come in
 * the order of ids.
 *
 * # Safety
 * Pointers have as many values as is said; ids end with a zero.
 */
td_code td_candidates_add_vectors(const td_candidates *candidates,
                                  const char *const *ids,
                                  const float *embeddings,
                                  size_t count,
                                  size_t dimensions);

/**
 * Ranks the candidates by the query's embedding alone. At most `room` are given, best first, to `found`.
 *
 * `options`: NULL for the usual ones. `ranking`: what else there is to say; or NULL.
 *
 * # Safety
 * Pointers have as many values, or room for as many, as is said.
 */
td_code td_candidates_rank_vector(const td_candidates *candidates,
                                  const float *query,
                                  size_t dimensions,
                                  const td_rank_options *options,
                                  td_ranked *found,
                                  size_t room,
                                  td_ranking *ranking);

/**
 * The same of candidates that are not kept: `count` rows of `dimensions` numbers, by the scorer of `candidates`.
 *
 * # Safety
 * As td_candidates_rank_vector.
 */
td_code td_candidates_rank_these(const td_candidates *candidates,
                                 const float *query,
                                 const float *embeddings,
                                 size_t count,
                                 size_t dimensions,
                                 const td_rank_options *options,
                                 td_ranked *found,
                                 size_t room,
                                 td_ranking *ranking);

/**
 * Loads another scorer, and ranks with it from the next call on; as td_router_reload.
 *
 * # Safety
 * As td_router_load.
 */
td_code td_candidates_reload(const td_candidates *candidates,
                             const uint8_t *artifact,
                             size_t artifact_length);

/**
 * How the scorer stands; as td_router_status.
 *
 * # Safety
 * As td_router_status.
 */
td_code td_candidates_status(const td_candidates *candidates, td_text *answer);

/**
 * Frees candidates and makes the pointer to them NULL.
 *
 * # Safety
 * As td_encoder_free.
 */
void td_candidates_free(td_candidates **candidates);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TINY_DANCER_H */
