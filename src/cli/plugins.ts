import type { Command } from 'commander'

export function addPluginsCommand(program: Command): void {
  program
    .command('plugins')
    .description('list the plugins, or one with its parameters')
    .argument('[type]', 'a plugin type')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExample:\n  epp plugins precise-prefix-cache-scorer')
    .action(async (type: string | undefined, { json }: { json?: boolean }) => {
      const { pluginsAsJson, pluginsAsText } = await import('./plugin-list.ts')
      process.stdout.write(json ? pluginsAsJson(type) : pluginsAsText(type))
    })
}
