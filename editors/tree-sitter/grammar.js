// SPDX-License-Identifier: Apache-2.0

// The grammar of HLB for tree-sitter. It reads what hlb/syntax reads, and bears with a little more: whether names and
// kinds are right is for `hlb lsp` to say. One thing it reads otherwise: a keyword or number directly before a colon is
// a part of the name here. src/ is made of it by ./generate.

// list is what stands in parentheses: elements with or without commas, on as many lines as it takes.
const list = ($, element) => seq("(", repeat(choice(element, ",", $._newline, $.comment)), ")");

module.exports = grammar({
  name: "hlb",

  word: ($) => $.identifier,

  // Heredocs end with a tag that the program chooses: see src/scanner.c.
  externals: ($) => [$.heredoc_start, $.heredoc_text, $.heredoc_end, $.raw_heredoc],

  // A line feed ends a statement, so it is none of these.
  extras: () => [/[ \t\r]/, "\uFEFF"],

  // A word may be a keyword or not by what follows.
  conflicts: ($) => [[$.function], [$._parameter]],

  rules: {
    source_file: ($) => repeat(choice($.import, $.export, $.function, $.comment, $._newline)),

    import: ($) =>
      seq(
        "import",
        field("name", $.identifier),
        choice(seq("from", field("module", $._expression)), field("module", $.string)),
      ),

    export: ($) => seq("export", field("name", $.identifier)),

    function: ($) =>
      seq(
        field("type", alias(choice($.identifier, "binds"), $.kind)),
        field("name", $.identifier),
        field("parameters", $.parameters),
        optional(seq("binds", field("effects", $.parameters))),
        optional(field("body", $.block)),
      ),

    parameters: ($) => list($, $.parameter),

    // The word variadic is a kind or a name like any other unless two more words follow.
    parameter: ($) => choice(prec.dynamic(1, seq("variadic", $._parameter)), $._parameter),

    _parameter: ($) =>
      seq(
        field("type", alias(choice($.identifier, "variadic"), $.kind)),
        field("name", choice($.identifier, alias("variadic", $.identifier))),
      ),

    block: ($) => seq("{", repeat(choice($._statement, $.comment, $._newline, ";")), "}"),

    _statement: ($) => choice($.call_statement, $._literal),

    // Arguments are greedy: a statement goes on as long as its line has any.
    call_statement: ($) =>
      prec.right(
        seq(
          field("function", $.name),
          repeat(field("argument", $._expression)),
          optional(field("options", $.with)),
          optional(field("bindings", $.as)),
        ),
      ),

    with: ($) => seq("with", $._expression),

    as: ($) => prec.right(seq("as", optional(choice(field("name", $.identifier), $.bindings)))),

    bindings: ($) => list($, $.binding),

    binding: ($) => seq(field("effect", $.identifier), field("name", $.identifier)),

    name: ($) =>
      seq($.identifier, optional(seq(token.immediate("."), field("member", alias($.identifier, $.member))))),

    _expression: ($) => choice($.block_literal, $.call, $._literal),

    block_literal: ($) => seq(field("type", alias($.identifier, $.kind)), field("body", $.block)),

    call: ($) => prec.right(seq(field("function", $.name), optional(field("arguments", $.arguments)))),

    arguments: ($) => list($, $._expression),

    _literal: ($) => choice($.number, $.boolean, $.string, $.raw_string, $.heredoc, $.raw_heredoc),

    // Before the identifier, which a number is too.
    number: () => /0|[1-9][0-9]*|0[bBoOxX][0-9A-Fa-f]+/,

    boolean: () => choice("true", "false"),

    string: ($) =>
      seq(
        '"',
        repeat(choice($._text, $.escape, $.interpolation)),
        token.immediate('"'),
      ),

    _text: () => choice(token.immediate(prec(1, /[^"\\$]+/)), token.immediate("$")),

    escape: () => token.immediate(/\\[^\n]/),

    interpolation: ($) => seq(token.immediate("${"), $._expression, "}"),

    raw_string: () => /`[^`]*`/,

    heredoc: ($) =>
      seq($.heredoc_start, repeat(choice($.heredoc_text, $.interpolation)), $.heredoc_end),

    comment: () => /#[^\n]*/,

    _newline: () => "\n",

    identifier: () => /[0-9A-Za-z_:]+/,
  },
});
