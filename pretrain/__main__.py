"""`python -m pretrain`: corpus, tokenizer, autoencoder, CLIP, generator, model card."""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # with 2 busy cores, endless spinning costs 10 times

import argparse
import json
import time
from pathlib import Path


def main() -> None:
    """Train whatever is missing in --work and write the finished folders to --out."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("build/pretrain"), help="checkpoints, kept between runs")
    parser.add_argument("--out", type=Path, default=Path("datadream/models/weights/mini"))
    arguments = parser.parse_args()
    work, out, seed = arguments.work, arguments.out, arguments.seed
    work.mkdir(parents=True, exist_ok=True)

    from pretrain.card import write_card
    from pretrain.clip import text_encoder, train_clip
    from pretrain.corpus import draw_corpus
    from pretrain.tokenizer import make_tokenizer
    from pretrain.unet import save_pipeline, train_unet
    from pretrain.vae import train_vae

    began = time.monotonic()
    log: list[dict[str, float]] = []

    def done(stage: str) -> None:
        nonlocal began
        held = (work / "log.jsonl").read_text(encoding="utf-8") if (work / "log.jsonl").exists() else ""
        if f"{stage}_seconds" not in held:  # a part reused by a resumed run keeps the time it took
            log.append({f"{stage}_seconds": round(time.monotonic() - began, 1)})
        began = time.monotonic()
        with (work / "log.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in log)
        log.clear()
        print(f"{stage} done", flush=True)

    corpus = draw_corpus(seed, work / "corpus.npz")
    tokenizer = make_tokenizer(seed)
    print(f"{len(corpus.masks)} drawings of {corpus.num_faces} faces, {len(tokenizer)} tokens", flush=True)
    done("corpus")
    vae = train_vae(corpus, seed, work / "vae", log)
    done("vae")
    clip = train_clip(corpus, tokenizer, seed, work / "clip", log)
    done("clip")
    unet, text = train_unet(vae, text_encoder(clip, tokenizer), corpus, tokenizer, seed, work, log)
    done("unet")
    save_pipeline(unet, text, vae, tokenizer, out / "sd")
    from pretrain.clip import config, save_clip

    save_clip(clip, config(len(tokenizer)), tokenizer, out / "clip")
    write_card(out, corpus, work / "log.jsonl", seed)
    done("card")


if __name__ == "__main__":
    main()
