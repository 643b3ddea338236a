#!/usr/bin/env node
import { tuneCollector } from './app/collector.ts'
import { goFlags } from './cli/go-flags.ts'
import { createProgram } from './cli/program.ts'
import { SchedulerError } from './framework/errors.ts'

tuneCollector()
try {
  await createProgram().parseAsync(goFlags(process.argv.slice(2)), { from: 'user' })
} catch (error) {
  process.stderr.write(
    error instanceof SchedulerError ? `epp: ${error.message}\n` : `${(error as Error).stack}\n`,
  )
  process.exitCode = 1
}
