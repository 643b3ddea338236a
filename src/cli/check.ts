import { readFileSync } from 'node:fs'
import { styleText } from 'node:util'
import type { Command } from 'commander'
import { loadConfig } from '../config/load.ts'
import { ModuleLoader } from '../config/module-loader.ts'
import { type Problem, problemLine, problemsOf } from '../config/problem.ts'
import { SchedulerError } from '../framework/errors.ts'
import { builtinPlugins } from '../plugins/index.ts'

interface CheckFlags {
  readonly strict?: boolean
  readonly json?: boolean
}

export function addCheckCommand(program: Command): void {
  program
    .command('check')
    .description('show everything that is wrong with a configuration file')
    .argument('<file>', 'YAML or JSON; - reads standard input')
    .option('--strict', 'warnings are errors')
    .option('--json', 'problems as JSON, for editors and CI')
    .addHelpText(
      'after',
      '\nExit code 1 when there is an error.\n\nExample:\n  epp check my-profile.yaml',
    )
    .action(async (file: string, flags: CheckFlags) => {
      const { problems, valid } = await check(file, flags.strict ?? false)
      if (flags.json) process.stdout.write(`${JSON.stringify({ valid, problems }, null, 2)}\n`)
      else for (const problem of problems) process.stdout.write(`${shown(problem)}\n`)
      if (!flags.json && valid) process.stdout.write(`${file}: valid\n`)
      if (!valid) process.exitCode = 1
    })
}

async function check(file: string, strict: boolean) {
  try {
    const text = readFileSync(file === '-' ? 0 : file, 'utf8')
    const modules = new ModuleLoader(builtinPlugins)
    const name = file === '-' ? 'stdin' : file
    const { warnings } = await loadConfig(text, name, builtinPlugins, modules, { strict })
    return { problems: warnings, valid: true }
  } catch (error) {
    const problems = problemsOf(error)
    if (problems.length > 0) return { problems, valid: false }
    if (error instanceof SchedulerError) throw error
    throw new SchedulerError(
      'CONFIG_INVALID',
      `${file} cannot be read: ${(error as Error).message}`,
    )
  }
}

function shown(problem: Problem): string {
  const severity = `${problem.severity}:`
  const colour = problem.severity === 'error' ? 'red' : 'yellow'
  return `${process.stdout.isTTY ? styleText(colour, severity) : severity} ${problemLine(problem)}`
}
