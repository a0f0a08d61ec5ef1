/* speed ARTIFACT ENCODER REQUESTS VECTORS ROUNDS: what examples/engine_speed.rs measures, by the C ABI. REQUESTS is
 * netstrings of JSON. */

#include <time.h>

#include "files.h"

enum { PASSES = 1, RANKINGS = 100, K = 10, MOST = 1024 };

static double now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec * 1e6 + (double)at.tv_nsec / 1e3;
}

int main(int count, char **arguments) {
  if (count != 6) stop("usage: speed ARTIFACT ENCODER REQUESTS VECTORS ROUNDS");
  bytes file = read_file(arguments[2]);
  td_encoder *encoder = NULL;
  must(td_encoder_load((const uint8_t *)file.data, file.length, &encoder));
  free(file.data);
  file = read_file(arguments[1]);
  td_router *router = NULL;
  must(td_router_load((const uint8_t *)file.data, file.length, encoder, NULL, 0, NULL, 0, &router));
  free(file.data);

  bytes texts = read_file(arguments[3]), requests[MOST];
  texts.data[texts.length] = 0;
  size_t asked = 0, total = 0;
  for (size_t at = 0; at < texts.length && asked < MOST; asked++) {
    char *end = NULL;
    size_t length = strtoull(texts.data + at, &end, 10);
    requests[asked] = (bytes){end + 1, length};
    at = (size_t)(end + 1 - texts.data) + length;
  }
  long rounds = strtol(arguments[5], NULL, 10);
  double decide = 1e9, rank = 1e9;
  for (long round = 0; round < rounds; round++) {
    double begun = now();
    for (size_t call = 0; call < PASSES * asked; call++) {
      td_text answer;
      must(td_router_decide(router, requests[call % asked].data, requests[call % asked].length, NULL, 0, &answer));
      total += answer.length;
      td_text_free(&answer);
    }
    double taken = (now() - begun) / (double)(PASSES * asked);
    if (taken < decide) decide = taken;
  }

  file = read_file(arguments[4]);
  const float *numbers = (const float *)(const void *)file.data;
  size_t dimensions = (size_t)numbers[0], rows = (file.length / sizeof(float) - 1) / dimensions - 1;
  td_candidates *candidates = NULL;
  must(td_candidates_new(NULL, 0, NULL, NULL, 0, &candidates));
  must(td_candidates_add_vectors(candidates, NULL, numbers + 1 + dimensions, rows, dimensions));
  for (long round = 0; round < rounds; round++) {
    double begun = now();
    for (int call = 0; call < RANKINGS; call++) {
      td_ranked found[K];
      td_ranking ranking;
      must(td_candidates_rank_vector(candidates, numbers + 1, dimensions, NULL, found, K, &ranking));
      total += ranking.count;
    }
    double taken = (now() - begun) / RANKINGS;
    if (taken < rank) rank = taken;
  }
  printf("{\"decide_us\": %.4f, \"rank_us\": %.4f, \"bytes\": %zu}\n", decide, rank, total);
  td_candidates_free(&candidates);
  td_router_free(&router);
  td_encoder_free(&encoder);
  free(texts.data);
  free(file.data);
  return 0;
}
