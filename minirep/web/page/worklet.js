// Runs beside the page, on the audio thread: gathers the microphone's samples and posts them in blocks.
"use strict";

const BLOCK = 2048; // samples

class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(BLOCK);
    this.count = 0;
  }

  process([[samples]]) {
    for (const sample of samples ?? []) {
      this.block[this.count++] = sample;
      if (this.count === BLOCK) {
        this.port.postMessage(this.block, [this.block.buffer]);
        this.block = new Float32Array(BLOCK);
        this.count = 0;
      }
    }
    return true;
  }
}

registerProcessor("tap", Tap);
