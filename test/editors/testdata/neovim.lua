-- Edits programs in Neovim with `hlb lsp`, and writes what a person would see to the file $HLB_RESULT as JSON.
local patience = 20000 -- ms
local results = {}

local function fail(text)
  io.stderr:write(text .. "\n")
  vim.cmd("cquit 1")
end

local function wait_for(what, condition)
  if not vim.wait(patience, condition, 10) then
    fail("no " .. what)
  end
end

local function messages(buf)
  local out = {}
  for _, d in ipairs(vim.diagnostic.get(buf)) do
    table.insert(out, string.format("%d:%d %s", d.lnum + 1, d.col + 1, d.message))
  end
  return out
end

-- find puts the cursor on the first match of a text, so many bytes behind its start.
local function find(text, behind)
  vim.fn.cursor(1, 1)
  if vim.fn.search("\\V" .. vim.fn.escape(text, "\\"), "cW") == 0 then
    fail("there is no " .. text)
  end
  vim.fn.cursor(vim.fn.line("."), vim.fn.col(".") + (behind or 0))
end

vim.cmd("filetype plugin indent on")
vim.cmd("syntax on")
vim.cmd("edit build.hlb")
local buf = vim.api.nvim_get_current_buf()
results.filetype = vim.bo[buf].filetype
results.syntax = vim.b[buf].current_syntax

local client = vim.lsp.start_client({
  name = "hlb",
  cmd = { vim.env.HLB, "lsp" },
  root_dir = vim.fn.getcwd(),
})
vim.lsp.buf_attach_client(buf, client)
vim.api.nvim_create_autocmd("FileType", {
  pattern = "hlb",
  callback = function(event) vim.lsp.buf_attach_client(event.buf, client) end,
})
wait_for("diagnostics", function() return #vim.diagnostic.get(buf) > 0 end)
results.wrong = messages(buf)

local function request(method, params)
  local answers, err = vim.lsp.buf_request_sync(buf, method, params, patience)
  if err or not answers[client] or answers[client].err then
    fail(method .. ": " .. vim.inspect(err or answers))
  end
  return answers[client].result
end

-- The fix that the diagnostic offers.
find("imgae")
local range = vim.lsp.util.make_range_params()
range.context = { diagnostics = {} }
local action = request("textDocument/codeAction", range)[1]
results.action = action.title
vim.lsp.util.apply_workspace_edit(action.edit, "utf-16")
wait_for("end of the diagnostics", function() return #vim.diagnostic.get(buf) == 0 end)

-- A statement that is being written.
find("\tlib.make")
vim.api.nvim_put({ '\trun "x" with op', "" }, "c", false, false)
find("with op", #"with op" - 1)
vim.api.nvim_win_set_cursor(0, { vim.fn.line("."), vim.fn.col(".") - 1 })
local params = vim.lsp.util.make_position_params()
params.position.character = params.position.character + 1
local items = vim.lsp.util.text_document_completion_list_to_complete_items(
  request("textDocument/completion", params), "op")
results.completion = {}
for _, item in ipairs(items) do
  table.insert(results.completion, item.word)
end
vim.cmd("delete")

find("lib.make", #"lib.")
vim.lsp.buf.hover()
local float
wait_for("hover", function()
  for _, win in ipairs(vim.api.nvim_list_wins()) do
    if vim.api.nvim_win_get_config(win).relative ~= "" then
      float = win
      return true
    end
  end
end)
results.hover = vim.api.nvim_buf_get_lines(vim.api.nvim_win_get_buf(float), 0, -1, false)
vim.api.nvim_win_close(float, true)

vim.lsp.buf.definition()
wait_for("definition", function() return vim.fn.expand("%:t") == "lib.hlb" end)
results.definition = vim.fn.expand("%:t") .. ":" .. vim.fn.line(".")
vim.cmd("buffer " .. buf)

find("make")
vim.lsp.buf.rename("build")
wait_for("rename", function() return vim.fn.search("lib.build", "nw") > 0 end)
results.renamed = vim.api.nvim_buf_get_lines(buf, 0, -1, false)
results.module = vim.api.nvim_buf_get_lines(vim.fn.bufnr("lib.hlb"), 0, -1, false)

if vim.lsp.buf.format then -- since 0.8
  vim.lsp.buf.format({ timeout_ms = patience })
else
  vim.lsp.buf.formatting_sync(nil, patience)
end
results.formatted = vim.api.nvim_buf_get_lines(buf, 0, -1, false)
wait_for("end of the diagnostics", function() return #vim.diagnostic.get(buf) == 0 end)
results.found = messages(buf)

vim.lsp.stop_client(client)
wait_for("end of the server", function() return vim.lsp.get_client_by_id(client) == nil end)

local out = assert(io.open(vim.env.HLB_RESULT, "w"))
out:write(vim.json.encode(results))
out:close()
vim.cmd("qall!")
