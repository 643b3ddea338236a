#!/usr/bin/env node
import { createProgram } from './cli/program.ts'
import { SchedulerError } from './framework/errors.ts'

try {
  await createProgram().parseAsync()
} catch (error) {
  process.stderr.write(
    error instanceof SchedulerError ? `epp: ${error.message}\n` : `${(error as Error).stack}\n`,
  )
  process.exitCode = 1
}
