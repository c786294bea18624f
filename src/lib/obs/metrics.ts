// Prometheus metrics under one prefix. Base units (seconds, bytes), bounded labels, only what was measured. Labels never
// carry tenant ids: per-tenant figures are in the API.

import { Counter, Gauge, Histogram, Registry } from 'prom-client'

const prefix = 'pocketfleet_'

/** Upper bounds in seconds, from a cached read to a cold start over a slow store. */
export const latencyBucketsSeconds = [
  0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
] as const

export type Labels = Readonly<Record<string, string | number>>

export interface CounterMetric {
  /** Adds `by`, 1 unless told; never negative. */
  inc(labels?: Labels, by?: number): void
}

export interface GaugeMetric {
  set(value: number, labels?: Labels): void
}

export interface HistogramMetric {
  observe(value: number, labels?: Labels): void
}

export interface MetricSpec {
  /** Without the `pocketfleet_` prefix; `_total` for counters, `_seconds` or `_bytes` for units. */
  readonly name: string
  readonly help: string
  readonly labels?: readonly string[]
}

/** The metrics of one process. Names are registered once; a second registration is our own mistake and throws. */
export class Metrics {
  readonly #registry = new Registry()

  /** @param collect called at each scrape with a setter, for sums that are kept elsewhere; `inc` is not for those. */
  counter(spec: MetricSpec, collect?: (set: GaugeMetric['set']) => void): CounterMetric {
    const counter: Counter<string> = new Counter({
      ...this.#named(spec),
      registers: [this.#registry],
      ...(collect && {
        collect: () => {
          counter.reset()
          collect((value, labels = {}) => counter.inc(labels, value))
        },
      }),
    })
    return { inc: (labels = {}, by = 1) => counter.inc(labels, by) }
  }

  /** @param collect called at each scrape, for values that are cheaper to read than to keep. */
  gauge(spec: MetricSpec, collect?: (set: GaugeMetric['set']) => void): GaugeMetric {
    const set: GaugeMetric['set'] = (value, labels = {}) => gauge.set(labels, value)
    const gauge: Gauge<string> = new Gauge({
      ...this.#named(spec),
      registers: [this.#registry],
      ...(collect && { collect: () => collect(set) }),
    })
    return { set }
  }

  histogram(spec: MetricSpec & { readonly buckets?: readonly number[] }): HistogramMetric {
    const buckets = [...(spec.buckets ?? latencyBucketsSeconds)]
    const histogram = new Histogram({ ...this.#named(spec), buckets, registers: [this.#registry] })
    return { observe: (value, labels = {}) => histogram.observe(labels, value) }
  }

  /** Prometheus text format 0.0.4, to be sent with {@link contentType}. */
  render(): Promise<string> {
    return this.#registry.metrics()
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  #named(spec: MetricSpec): { name: string; help: string; labelNames: string[] } {
    return { name: prefix + spec.name, help: spec.help, labelNames: [...(spec.labels ?? [])] }
  }
}
