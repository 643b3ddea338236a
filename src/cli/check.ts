import type { Command } from 'commander'
import type { CheckFlags } from './run-check.ts'

const EXAMPLE = `
Manifests that are given together are held against each other: the flags of vLLM
with pools, policies, profiles and Services. Exit code 1 when there is an error.

Example:
  epp check my-profile.yaml
  epp check deploy/ack/ --effective
  kubectl get deploy,svc,inferencepool -o yaml | epp check -`

export function addCheckCommand(program: Command): void {
  program
    .command('check')
    .description('show everything that is wrong with configurations and Kubernetes manifests')
    .argument('[inputs...]', 'YAML or JSON files, folders; - reads standard input')
    .option('-n, --namespace <namespace>', 'of objects that name none', 'default')
    .option('--cluster', 'check what runs in the cluster, besides what is given')
    .option('--pool-name <name>', 'with --cluster: a pool that must be there')
    .option('--pool-namespace <namespace>', 'with --cluster: where the pool is')
    .option('--kubeconfig <file>', 'with --cluster: how the API server is reached')
    .option('--effective', 'print the configuration in force, and where each value is from')
    .option('--strict', 'warnings are errors')
    .option('--json', 'problems as JSON, for editors and CI')
    .addHelpText('after', EXAMPLE)
    .action(async (inputs: readonly string[], flags: CheckFlags) => {
      const { runCheck } = await import('./run-check.ts')
      await runCheck(inputs, flags)
    })
}
