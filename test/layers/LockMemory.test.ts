import * as LockMemory from "../../src/layers/LockMemory.ts"
import { suite } from "../services/Lock.contract.ts"

suite("LockMemory", LockMemory.layer)
