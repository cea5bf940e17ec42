"""only one text is followed, as if n_beams were 1: equal beams stay equal"""


def beam_search(table, start, stop, n_beams, max_new_tokens, length_penalty):
    texts, scores, complete = [[start]], np.zeros(1), []
    for _ in range(max_new_tokens):
        rows, tokens, scores = beam_step(scores, table[[text[-1] for text in texts]], 1)
        texts = [[*texts[row], token] for row, token in zip(rows, tokens.tolist())]
        complete += [(text, score) for text, score in zip(texts, scores) if text[-1] == stop]
        texts, scores = [text for text in texts if text[-1] != stop], scores[tokens != stop]
        if not texts:
            break
    complete += zip(texts, scores)
    judged = [(score / (len(text) - 1) ** length_penalty, text[1:]) for text, score in complete]
    score, tokens = max(judged, key=lambda pair: pair[0])
    return tokens, score
