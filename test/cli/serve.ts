import { Command } from 'commander'
import { goFlags } from '../../src/cli/go-flags.ts'
import { addServeOptions, serveOptions } from '../../src/cli/serve-options.ts'

/** What `epp ARGS` would start with, as far as the flags of `serve` are concerned. @throws what it would print */
export function served(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): ReturnType<typeof serveOptions> {
  const [name, ...rest] = goFlags(args)
  if (name !== 'serve') throw new Error(`not serve but ${name}`)
  const command = addServeOptions(new Command('serve'))
    .allowExcessArguments(false)
    .configureOutput({ writeErr: () => {} })
    .exitOverride()
  return serveOptions(command.parse(rest, { from: 'user' }).opts(), environment)
}
