import { type Command, Option } from 'commander'
import { SIM_ENGINE_FLAGS, simEngineOptions } from '../sim/options.ts'
import { createLogger, type LogFormat } from '../telemetry/logger.ts'

type Flags = Readonly<Record<string, string | readonly string[] | undefined>>

export function addSimEngineCommand(program: Command): void {
  const command = program
    .command('sim-engine')
    .description('a simulated vLLM server: API, metrics, KV cache and events without a model')
  for (const { flag, description } of SIM_ENGINE_FLAGS) command.option(flag, description)
  command
    .addOption(
      new Option('--log-format <format>', 'log lines').choices(['text', 'json']).default('text'),
    )
    .addHelpText(
      'after',
      '\nExample:\n  epp sim-engine --port 8000 --block-size 64 --kv-events-config ' +
        `'{"enable_kv_cache_events":true,"endpoint":"tcp://127.0.0.1:5557","topic":"kv@127.0.0.1:8000@Qwen3-32B"}'`,
    )
    .action(async ({ logFormat, ...flags }: Flags) => {
      const logger = createLogger({
        format: logFormat as LogFormat,
        level: 'info',
        write: (line) => process.stdout.write(line),
        epochMs: Date.now,
      })
      const { startSimEngine } = await import('../sim-engine.ts')
      const engine = await startSimEngine(simEngineOptions(flags, process.env), logger)
      logger.info('Engine serving', { port: engine.port })
      await new Promise<void>((resolve) => {
        for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve())
      })
      await engine.close()
    })
}
