import { type Command, Option } from 'commander'
import { suggestion } from '../config/near.ts'
import { SchedulerError } from '../framework/errors.ts'
import { readSimCommandLine } from '../sim/command-line.ts'
import { SIM_ENGINE_FLAGS, simEngineOptions } from '../sim/options.ts'
import { createLogger, type LogFormat } from '../telemetry/logger.ts'

const EXAMPLE = `
A vLLM command line is taken as it stands, behind the flags above or behind --: vLLM's
flags that a simulation has no use for are named and have no effect.

Example:
  epp sim-engine --resolve picker.default.svc=127.0.0.1 -- sh -c 'vllm serve
    /models/Qwen3-32B --served-model-name Qwen3-32B --block-size 64 --kv-events-config
    "{\\"enable_kv_cache_events\\":true,\\"publisher\\":\\"zmq\\",\\"topic\\":\\"kv@\${POD_IP}@Qwen3-32B\\",
    \\"endpoint\\":\\"tcp://picker.default.svc:5557\\"}"'`

export function addSimEngineCommand(program: Command): void {
  const command = program
    .command('sim-engine')
    .usage('[flags] [[--] command that starts vLLM]')
    .description('a simulated vLLM server: API, metrics, KV cache and events without a model')
  for (const { flag, description } of SIM_ENGINE_FLAGS) command.option(flag, description)
  command
    .addOption(
      new Option('--log-format <format>', 'log lines').choices(['text', 'json']).default('text'),
    )
    .addHelpText('after', EXAMPLE)
    .allowUnknownOption()
    .allowExcessArguments()
    .action(async () => run(command.args))
  // vLLM's parser has other rules than this one: all words are read together, in their order.
  command.parseOptions = (words) => ({ operands: [], unknown: [...words] })
}

async function run(words: readonly string[]): Promise<void> {
  const { flags, environment, ignored } = readSimCommandLine(words, process.env, suggestion)
  const { logFormat = 'text', ...rest } = flags
  const logger = createLogger({
    format: logFormatOf(logFormat),
    level: 'info',
    write: (line) => process.stdout.write(line),
    epochMs: Date.now,
  })
  const options = simEngineOptions(rest, environment)
  if (ignored.length > 0) logger.info('Flags without effect', { flags: ignored.join(' ') })
  const { startSimEngine } = await import('../sim-engine.ts')
  const engine = await startSimEngine(options, logger)
  logger.info('Engine serving', { port: engine.port })
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve())
  })
  await engine.close()
}

/** @throws {SchedulerError} CONFIG_INVALID for any other format */
function logFormatOf(text: string | readonly string[]): LogFormat {
  if (text === 'text' || text === 'json') return text
  throw new SchedulerError('CONFIG_INVALID', `--log-format must be text or json, got "${text}"`)
}
