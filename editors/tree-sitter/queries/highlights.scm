; Colors of HLB for tree-sitter.
; Written from the declarations in hlb/builtin by the tests of hlb/grammar, with -update.

(comment) @comment

[(string) (raw_string) (heredoc) (raw_heredoc)] @string
(escape) @string.escape
(interpolation "${" @punctuation.special "}" @punctuation.special)

(number) @number
(boolean) @boolean

["import" "export" "with" "as" "from" "binds" "variadic"] @keyword

(kind) @type

(function name: (identifier) @function)
(parameter name: (identifier) @variable.parameter)
(import name: (identifier) @module)
(export name: (identifier) @function)
(as name: (identifier) @variable)
(binding effect: (identifier) @property)
(binding name: (identifier) @variable)

(name (identifier) @function.call)
(name (member) @function.call)

((name . (identifier) @function.builtin)
  (#any-of? @function.builtin "cacheContext" "cmd" "copy" "diff" "dir" "dockerLoad" "dockerPush" "download" "downloadDockerTarball" "downloadOCITarball" "downloadTarball" "entrypoint" "env" "expose" "format" "frontend" "git" "http" "image" "label" "local" "localArch" "localCwd" "localEnv" "localOs" "localRun" "manifest" "merge" "mkdir" "mkfile" "rm" "run" "scratch" "shell" "stage" "stopSignal" "template" "user" "volumes" "breakpoint"))

((name . (identifier) @property)
  (#any-of? @property "allowEmptyWildcard" "allowNotFound" "allowWildcard" "base" "cache" "cacheMount" "checksum" "chmod" "chown" "contentsOnly" "createDestPath" "createParents" "createdTime" "excludePatterns" "filename" "followSymlinks" "forward" "gid" "host" "id" "ignoreCache" "ignoreError" "ignoreErrors" "includePatterns" "includeStderr" "inlineCache" "input" "keepGitDir" "localPaths" "mode" "mount" "network" "onlyStderr" "opt" "optional" "owner" "permissions" "platform" "readonly" "readonlyRootfs" "resolve" "secret" "security" "sharing" "shlex" "sourcePath" "ssh" "stargz" "stringField" "target" "tmpfs" "to" "toImage" "toLocal" "uid" "unpack"))
