// SPDX-License-Identifier: Apache-2.0

// Starts `hlb lsp`, which does everything but the colors of the grammar, and `hlb dap` for each debug session.
const { debug, workspace, DebugAdapterExecutable } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

exports.activate = function (context) {
  context.subscriptions.push(
    debug.registerDebugAdapterDescriptorFactory("hlb", {
      createDebugAdapterDescriptor: () =>
        new DebugAdapterExecutable(workspace.getConfiguration("hlb").get("path"), ["dap"]),
    }),
  );
  const settings = workspace.getConfiguration("hlb");
  const args = ["lsp"];
  if (settings.get("addr")) {
    args.push("--addr", settings.get("addr"));
  }
  for (const host of settings.get("registries")) {
    args.push("--registry", host);
  }
  client = new LanguageClient(
    "hlb",
    "HLB",
    { command: settings.get("path"), args },
    {
      documentSelector: [{ language: "hlb" }],
      synchronize: { fileEvents: workspace.createFileSystemWatcher("**/*.hlb") },
    },
  );
  return client.start();
};

exports.deactivate = function () {
  return client ? client.stop() : undefined;
};
