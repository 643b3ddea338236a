import { type Command, Option } from 'commander'
import type { ReplayFlags } from './run-replay.ts'

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
    .action(async (files: readonly string[], flags: ReplayFlags) => {
      const { runReplay } = await import('./run-replay.ts')
      await runReplay(files, flags)
    })
}
