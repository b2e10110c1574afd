-- Parses the programs of a folder with the tree-sitter grammar $HLB_PARSER, in Neovim, and colors each with the query
-- $HLB_QUERIES/highlights.scm. Writes what was found to the file $HLB_RESULT as JSON.
local language = vim.treesitter.language
if language and language.add then
  language.add("hlb", { path = vim.env.HLB_PARSER })
else
  vim.treesitter.require_language("hlb", vim.env.HLB_PARSER)
end

local function query(name)
  local text = table.concat(vim.fn.readfile(vim.env.HLB_QUERIES .. "/" .. name), "\n")
  return (vim.treesitter.query.parse or vim.treesitter.query.parse_query)("hlb", text)
end

local highlights = query("highlights.scm")
query("folds.scm")

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function collect(node, out)
  if node:named() and node:type() ~= "source_file" then
    local _, _, from = node:start()
    local _, _, to = node:end_()
    table.insert(out, string.format("%s %d-%d", node:type(), from, to))
  end
  for child in node:iter_children() do
    collect(child, out)
  end
end

local results = {}
for _, path in ipairs(vim.fn.glob("*.hlb", true, true)) do
  local text = read(path)
  local root = vim.treesitter.get_string_parser(text, "hlb"):parse()[1]:root()
  local result = { broken = root:has_error(), nodes = {}, colors = vim.empty_dict() }
  collect(root, result.nodes)
  for id, node in highlights:iter_captures(root, text, 0, -1) do
    local _, _, from = node:start()
    local _, _, to = node:end_()
    local name = highlights.captures[id]
    result.colors[name] = result.colors[name] or {}
    table.insert(result.colors[name], text:sub(from + 1, to))
  end
  results[path] = result
end

local out = assert(io.open(vim.env.HLB_RESULT, "w"))
out:write(vim.json.encode(results))
out:close()
vim.cmd("qall!")
