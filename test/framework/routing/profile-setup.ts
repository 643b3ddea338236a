import { PluginProbe } from '../../../src/framework/instrument.ts'
import type { OnError } from '../../../src/framework/on-error.ts'
import type { Filter, Kind, Picker, Scorer } from '../../../src/framework/plugin.ts'
import { Influence } from '../../../src/framework/routing/influence.ts'
import { Profile } from '../../../src/framework/routing/profile.ts'
import { createNotices } from '../../../src/telemetry/notices.ts'
import { CountingMetrics, keepingLogger } from '../../extproc/fakes.ts'

interface Options {
  readonly onError?: OnError
  readonly timeBudgetMs?: number
}

const best: Picker = {
  pick: (_request, scored) => [scored.reduce((a, b) => (b.score > a.score ? b : a)).endpoint],
}

/** What a profile "p" is made of, with what it counts, logs and shows. */
export class ProfileSetup {
  readonly metrics = new CountingMetrics()
  readonly logger = keepingLogger()
  readonly notices = createNotices(() => 0)

  probe(kind: Kind, name: string, timeBudgetMs?: number): PluginProbe {
    return new PluginProbe({ kind, type: 'test', name, timeBudgetMs }, this)
  }

  filter(name: string, plugin: Filter, { onError = 'fail', timeBudgetMs }: Options = {}) {
    return { name, plugin, onError, probe: this.probe('filter', name, timeBudgetMs) }
  }

  /** @param plugin its scores, or the plugin itself */
  scorer(
    name: string,
    weight: number,
    plugin: readonly number[] | Scorer,
    { onError = 'fail', timeBudgetMs }: Options = {},
    differsWhen?: string,
  ) {
    return {
      name,
      weight,
      plugin: 'score' in plugin ? plugin : { score: () => plugin },
      onError,
      probe: this.probe('scorer', name, timeBudgetMs),
      influence: new Influence(
        { profile: 'p', scorer: name, weight, differsWhen },
        this.metrics,
        this.notices,
      ),
    }
  }

  profile(
    filters: readonly ReturnType<ProfileSetup['filter']>[],
    scorers: readonly ReturnType<ProfileSetup['scorer']>[],
    picker: Picker = best,
  ): Profile {
    const configured = { name: 'picker', plugin: picker, probe: this.probe('picker', 'picker') }
    return new Profile('p', filters, scorers, configured)
  }

  /** What a plugin has failed. */
  failures(kind: Kind, name: string): number {
    return this.metrics.value(`epp_plugin_failures_total{kind=${kind},type=test,name=${name}}`)
  }

  /** What a scorer's influence was counted as. */
  influence(scorer: string) {
    const value = (what: string) =>
      this.metrics.value(`epp_scorer_${what}_total{profile=p,scorer=${scorer}}`)
    return { requests: value('requests'), decided: value('decided'), equal: value('equal') }
  }

  /** Texts of the notices by their keys. */
  shown(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.notices.list().map(({ key, text }) => [key, text]))
  }
}
