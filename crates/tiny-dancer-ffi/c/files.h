/* What the programs of this folder share: files read whole, and a stop that says why. */

#ifndef FILES_H
#define FILES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tiny_dancer.h"

typedef struct {
  char *data;
  size_t length;
} bytes;

static inline void stop(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

/* Of a call that must not fail. */
static inline void must(td_code code) {
  if (code != TD_CODE_OK) stop(td_error_message());
}

static inline bytes read_file(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL || fseek(file, 0, SEEK_END) != 0) stop(path);
  long length = ftell(file);
  rewind(file);
  bytes read = {malloc((size_t)length + 1), (size_t)length};
  if (read.data == NULL || fread(read.data, 1, read.length, file) != read.length) stop(path);
  fclose(file);
  return read;
}

#endif
