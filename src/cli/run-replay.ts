import { SingleBar } from 'cli-progress'
import { type NamedConfig, type ReplayReport, replay } from '../app/replay.ts'
import { MAX_DOCUMENT_BYTES } from '../config/document.ts'
import { readText } from '../config/file-watch.ts'
import { loadConfig } from '../config/load.ts'
import { ModuleLoader } from '../config/module-loader.ts'
import { SchedulerError } from '../framework/errors.ts'
import { builtinPlugins } from '../plugins/index.ts'
import { reportText } from './replay-report.ts'

export interface ReplayFlags {
  readonly config: string
  readonly against?: string
  readonly json?: boolean
}

/** @throws {SchedulerError} for a configuration or a recording that is wrong */
export async function runReplay(files: readonly string[], flags: ReplayFlags): Promise<void> {
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
