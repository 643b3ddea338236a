import { SingleBar } from 'cli-progress'
import { type Command, Option } from 'commander'
import type { NamedConfig, ReplayReport } from '../app/replay.ts'
import { MAX_DOCUMENT_BYTES } from '../config/document.ts'
import { readText } from '../config/file-watch.ts'
import { loadConfig } from '../config/load.ts'
import { ModuleLoader } from '../config/module-loader.ts'
import { SchedulerError } from '../framework/errors.ts'
import { builtinPlugins } from '../plugins/index.ts'

interface ReplayFlags {
  readonly config: string
  readonly against?: string
  readonly json?: boolean
}

export function addReplayCommand(program: Command): void {
  program
    .command('replay')
    .description('show what another configuration would have picked, from a recording')
    .argument('<files...>', 'what epp serve --record wrote, the oldest first: FILE.1 FILE')
    .addOption(new Option('--config <file>', 'the configuration to try').makeOptionMandatory())
    .option('--against <file>', 'the one to hold it against (default: the recorded picks)')
    .option('--json', 'everything, as JSON')
    .addHelpText(
      'after',
      `
The replay is open-loop: each decision is made anew from the state that was recorded, which does not change with other
picks. It tells which decisions a change moves, not how the fleet would behave after it. See docs/replay.md.

Example:
  epp serve --record decisions.jsonl.gz --config-file old.yaml ...
  epp replay decisions.jsonl.gz --config new.yaml`,
    )
    .action(run)
}

async function run(files: readonly string[], flags: ReplayFlags): Promise<void> {
  const { replay } = await import('../app/replay.ts')
  const modules = new ModuleLoader(builtinPlugins)
  const load = (text: string, source: string) => loadConfig(text, source, builtinPlugins, modules)
  const named = async (file: string): Promise<NamedConfig> => ({
    name: file,
    config: await load(await textOf(file), file),
  })
  const next = await named(flags.config)
  const against = flags.against === undefined ? undefined : await named(flags.against)
  const bar = process.stderr.isTTY
    ? new SingleBar({ format: '{bar} {percentage}% {decisions} decisions', clearOnComplete: true })
    : undefined
  let report: ReplayReport
  try {
    bar?.start(1, 0, { decisions: 0 })
    report = await replay({
      ...{ files, next, load },
      ...(against && { against }),
      progress(bytes, totalBytes, decisions) {
        bar?.setTotal(totalBytes)
        bar?.update(bytes, { decisions })
      },
    })
  } finally {
    bar?.stop()
  }
  const { reportText } = await import('./replay-report.ts')
  process.stdout.write(flags.json ? `${JSON.stringify(report, null, 2)}\n` : reportText(report))
}

/** @throws {SchedulerError} CONFIG_INVALID */
async function textOf(file: string): Promise<string> {
  try {
    return await readText(file, MAX_DOCUMENT_BYTES)
  } catch (cause) {
    throw new SchedulerError(
      'CONFIG_INVALID',
      `${file} cannot be read: ${(cause as Error).message}`,
      { cause },
    )
  }
}
