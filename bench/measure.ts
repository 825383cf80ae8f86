/** What a suite of the benchmark is, and what it answers with. */

/** What was measured. `value` is the median of the rounds. */
export interface Figure {
  readonly suite: string
  readonly workload: string
  readonly subject: string
  readonly value: number
  readonly rounds: ReadonlyArray<number>
  readonly unit: "/s" | "ms" | "us" | "MiB" | "bytes"
  readonly note?: string
}
export interface Suite {
  readonly name: string
  readonly run: (context: Context) => Promise<ReadonlyArray<Figure>>
}
export interface Context {
  /** A folder of the suite's own, on the disk that is measured. */
  readonly root: string
  readonly preset: "smoke" | "standard" | "full"
  readonly progress: (text: string) => void
}
