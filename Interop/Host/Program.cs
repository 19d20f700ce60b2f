using System;
using System.IO;
using System.Runtime.InteropServices;
using System.Threading;

namespace LowLevel.Interop.Host;

/// <summary>The host as a program: 0 after a clean end, 2 where it could not begin.</summary>
internal static class Program
{
    private const int CannotBegin = 2;

    private static int Main(string[] args)
    {
        try
        {
            HostArguments arguments = HostArguments.Parse(args);
            if (arguments.Options is not HostOptions options)
            {
                Console.Out.WriteLine(HostArguments.Help);
                return 0;
            }

            Serve(options, arguments.WritesJson);
            return 0;
        }
        catch (HostException e)
        {
            Console.Error.WriteLine("LowLevel.Host: " + e.Message);
            return CannotBegin;
        }
    }

    private static void Serve(HostOptions options, bool json)
    {
        using ManualResetEventSlim end = new();
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, End);
        using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, End);
        using StatusWriter writer = new(json);
        using HostServer server = new(options with { AfterRound = writer.Write });
        using HostMeter meter = new(() => server.Status);
        server.Start();
        end.Wait();

        void End(PosixSignalContext context)
        {
            context.Cancel = true;
            end.Set();
        }
    }
}
