"""A session of the unmodified client with a module: `session.py TTY BAUD PASSWORD STEP...`; says what each step gave.

`image FILE` waits for a finger and writes the image that the client puts together.
"""

import sys

from pyfingerprint.pyfingerprint import PyFingerprint

tty, baud, password = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
module = PyFingerprint(tty, baud, 0xFFFFFFFF, password)
steps = iter(sys.argv[4:])
for step in steps:
    if step == "open":
        result = module.verifyPassword()
    elif step == "parameters":
        result = module.getSystemParameters()
    elif step == "read":
        result = module.readImage()
    elif step == "convert":
        result = module.convertImage(0x01)
    elif step == "image":
        while not module.readImage():
            pass
        result = module.downloadImage(next(steps))
    elif step == "size":
        result = module.setMaxPacketSize(256)
    elif step == "speed":
        result = module.setBaudRate(115200)
    elif step == "templates":
        result = module.getTemplateCount()
    elif step == "random":
        result = 0 <= module.generateRandomNumber() <= 0xFFFFFFFF
    else:
        raise SystemExit("no step " + step)
    print(step, result, flush=True)
