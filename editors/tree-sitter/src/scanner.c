// SPDX-License-Identifier: Apache-2.0

// Reads heredocs, which end where the tag that opened them stands as a word of its own. They may hold interpolations,
// which may hold others: the tags of those that are open are a stack.

#include "tree_sitter/parser.h"

#include <stdlib.h>
#include <string.h>

enum token { HEREDOC_START, HEREDOC_TEXT, HEREDOC_END, RAW_HEREDOC };

enum { MAX_TAG = 100, MAX_DEPTH = 8 };

// What is nested deeper, or has a longer tag, is not read as a heredoc.
typedef struct {
  unsigned depth;
  unsigned char length[MAX_DEPTH];
  char tag[MAX_DEPTH][MAX_TAG];
} Scanner;

static bool is_word(int32_t c) {
  return ('0' <= c && c <= '9') || ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || c == '_';
}

static bool is_space(int32_t c) { return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r'; }

static void advance(TSLexer *lexer) { lexer->advance(lexer, false); }

// at_tag passes as much of a tag as comes next, and reports whether it is there as a whole word.
static bool at_tag(TSLexer *lexer, const char *tag, unsigned length) {
  for (unsigned i = 0; i < length; i++) {
    if (lexer->lookahead != tag[i]) {
      return false;
    }
    advance(lexer);
  }
  return !is_word(lexer->lookahead);
}

// scan_start reads "<<", a modifier and a tag, in backticks all of a raw heredoc.
static bool scan_start(Scanner *s, TSLexer *lexer, const bool *valid) {
  while (lexer->lookahead == ' ' || lexer->lookahead == '\t' || lexer->lookahead == '\r') {
    lexer->advance(lexer, true);
  }
  for (int i = 0; i < 2; i++) {
    if (lexer->lookahead != '<') {
      return false;
    }
    advance(lexer);
  }
  if (lexer->lookahead == '-' || lexer->lookahead == '~') {
    advance(lexer);
  }
  bool raw = lexer->lookahead == '`';
  if (raw) {
    advance(lexer);
  }
  char tag[MAX_TAG];
  unsigned length = 0;
  while (is_word(lexer->lookahead)) {
    if (length == MAX_TAG) {
      return false;
    }
    tag[length++] = (char)lexer->lookahead;
    advance(lexer);
  }
  if (length == 0) {
    return false;
  }
  if (!raw) {
    if (s->depth == MAX_DEPTH || !valid[HEREDOC_START]) {
      return false;
    }
    memcpy(s->tag[s->depth], tag, length);
    s->length[s->depth++] = (unsigned char)length;
    lexer->mark_end(lexer);
    lexer->result_symbol = HEREDOC_START;
    return true;
  }
  if (lexer->lookahead != '`' || !valid[RAW_HEREDOC]) {
    return false;
  }
  advance(lexer);
  while (!lexer->eof(lexer)) { // at the start of a word
    if (at_tag(lexer, tag, length)) {
      lexer->mark_end(lexer);
      lexer->result_symbol = RAW_HEREDOC;
      return true;
    }
    while (!is_space(lexer->lookahead) && !lexer->eof(lexer)) {
      advance(lexer);
    }
    while (is_space(lexer->lookahead)) {
      advance(lexer);
    }
  }
  return false;
}

// rest_of_word passes text up to white space, a dollar, or an escaped dollar. inside means that a part of it was passed.
static void rest_of_word(TSLexer *lexer, bool inside) {
  while (!is_space(lexer->lookahead) && lexer->lookahead != '$' && !lexer->eof(lexer)) {
    if (lexer->lookahead == '\\' && inside) {
      advance(lexer);
      if (lexer->lookahead == '$') { // an escape of its own
        advance(lexer);
        return;
      }
      if (lexer->lookahead == '\\') {
        advance(lexer);
      }
      continue;
    }
    advance(lexer);
    inside = true;
  }
}

// scan_text reads up to the closing tag or the next interpolation, or the closing tag.
static bool scan_text(Scanner *s, TSLexer *lexer) {
  const char *tag = s->tag[s->depth - 1];
  unsigned length = s->length[s->depth - 1];
  bool any = false;
  while (!lexer->eof(lexer)) { // where a token of hlb/syntax starts
    lexer->mark_end(lexer);
    lexer->result_symbol = HEREDOC_TEXT;
    int32_t c = lexer->lookahead;
    if (is_space(c)) {
      while (is_space(lexer->lookahead)) {
        advance(lexer);
      }
    } else if (c == '$') {
      advance(lexer);
      if (lexer->lookahead == '{') {
        return any; // what is marked; else the interpolation is read
      }
    } else if (c == '\\') {
      advance(lexer);
      if (lexer->lookahead != '\n' && !lexer->eof(lexer)) {
        advance(lexer);
      } else {
        rest_of_word(lexer, true);
      }
    } else if (c == tag[0]) {
      if (at_tag(lexer, tag, length)) {
        if (!any) {
          s->depth--;
          lexer->mark_end(lexer);
          lexer->result_symbol = HEREDOC_END;
        }
        return true;
      }
      rest_of_word(lexer, true);
    } else {
      rest_of_word(lexer, false);
    }
    any = true;
  }
  return false; // it is not closed
}

bool tree_sitter_hlb_external_scanner_scan(void *payload, TSLexer *lexer, const bool *valid) {
  Scanner *s = payload;
  bool start = valid[HEREDOC_START] || valid[RAW_HEREDOC];
  bool text = valid[HEREDOC_TEXT] || valid[HEREDOC_END];
  if (start && text) {
    return false; // a recovery from an error, when it is not known where this is
  }
  if (text) {
    return s->depth > 0 && scan_text(s, lexer);
  }
  return start && scan_start(s, lexer, valid);
}

void *tree_sitter_hlb_external_scanner_create(void) { return calloc(1, sizeof(Scanner)); }

void tree_sitter_hlb_external_scanner_destroy(void *payload) { free(payload); }

unsigned tree_sitter_hlb_external_scanner_serialize(void *payload, char *buffer) {
  Scanner *s = payload;
  unsigned size = 0;
  for (unsigned i = 0; i < s->depth; i++) {
    buffer[size++] = (char)s->length[i];
    memcpy(buffer + size, s->tag[i], s->length[i]);
    size += s->length[i];
  }
  return size; // at most 8 x 101 bytes of 1,024
}

void tree_sitter_hlb_external_scanner_deserialize(void *payload, const char *buffer, unsigned length) {
  Scanner *s = payload;
  s->depth = 0;
  for (unsigned at = 0; at < length;) {
    unsigned char size = (unsigned char)buffer[at++];
    s->length[s->depth] = size;
    memcpy(s->tag[s->depth++], buffer + at, size);
    at += size;
  }
}
