import { Command } from 'commander'
import { version } from '../version.ts'
import { addCheckCommand } from './check.ts'
import { addDemoCommand } from './demo.ts'
import { addExplainCommand } from './explain.ts'
import { addFetchTokenizerCommand } from './fetch-tokenizer.ts'
import { addPluginsCommand } from './plugins.ts'
import { addProxyCommand } from './proxy.ts'
import { addReplayCommand } from './replay.ts'
import { addServeOptions, serveOptions } from './serve-options.ts'
import { addSimEngineCommand } from './sim-engine.ts'
import { addSimulateCommand } from './simulate.ts'
import { addTokenizeCommand } from './tokenize.ts'

/** The command line: `serve` when no command is named. Commands load what they need when they run, so that help is quick. */
export function createProgram(): Command {
  const program = new Command('epp')
    .description('Picks the model server for every LLM inference request.')
    .version(version)
    .configureHelp({ showGlobalOptions: false })
    .showHelpAfterError('(run with --help for all flags)')
    .showSuggestionAfterError()
  addServeOptions(
    program
      .command('serve', { isDefault: true })
      .description('answer a gateway over ext_proc (the default command)')
      .addHelpText(
        'after',
        "\nEach flag has an environment variable: --grpc-port is EPP_GRPC_PORT. GIE's and llm-d's flags are taken too.\nFurther limits (--max-...) are listed in docs/security.md.\n\nExample:\n" +
          '  epp serve --endpoint 10.0.0.5:8000 --endpoint 10.0.0.6:8000 --tokenizers-dir ./tokenizers',
      ),
  ).action(async (values: Record<string, unknown>) => {
    const { runServe } = await import('./serve.ts')
    await runServe(serveOptions(values))
  })
  addProxyCommand(program)
  addCheckCommand(program)
  addPluginsCommand(program)
  addSimEngineCommand(program)
  addSimulateCommand(program)
  addDemoCommand(program)
  addFetchTokenizerCommand(program)
  addTokenizeCommand(program)
  addExplainCommand(program)
  addReplayCommand(program)
  return program
}
